"""Extension modules; everything else is in pyproject.toml, which has no field for these."""

from __future__ import annotations

from setuptools import setup

setup(
    cffi_modules=[
        "south/engine/build_unicorn.py:ffibuilder",
        "tee/build_native.py:ffibuilder",
        "normal_world/daemon/build_transport.py:ffibuilder",
    ],
)
