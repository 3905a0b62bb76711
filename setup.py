"""Extension modules, libteec and the documentation. pyproject.toml has all else, and no field for these."""

from __future__ import annotations

import importlib.util
import os
import sys
from glob import glob
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# A warning of some newer compiler must not keep a user from an installation; ours must see it.
if os.environ.get("CI") == "true":
    os.environ["CFLAGS"] = f"{os.environ.get('CFLAGS', '')} -Werror".strip()

DOCS = "share/doc/litebox-ta"
"""Below the installation's prefix (`ta_loader.cli.docs`)."""


class BuildWithLibteec(build_py):
    """Puts a libteec for this machine into the wheel, so that `litebox-ta with` needs no compiler."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        source = Path("normal_world/libteec.py").resolve()
        sys.path.insert(0, str(source.parents[1]))  # it imports what needs no extension module
        spec = importlib.util.spec_from_file_location("_libteec_build", source)
        assert spec
        assert spec.loader
        libteec = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(libteec)
        out = Path(self.build_lib).resolve() / "normal_world/libteec/lib" / libteec.triplet()
        try:
            libteec.build(out, libteec.compiler())
        except libteec.BuildError as problem:
            print(f"libteec is left out, and built when it is first used: {problem}", file=sys.stderr)


setup(
    cffi_modules=[
        "south/engine/build_unicorn.py:ffibuilder",
        "tee/build_native.py:ffibuilder",
        "normal_world/daemon/build_transport.py:ffibuilder",
    ],
    cmdclass={"build_py": BuildWithLibteec},
    data_files=[(DOCS, ["README.md", "CHANGELOG.md"]), (f"{DOCS}/docs", sorted(glob("docs/*.md")))],
)
