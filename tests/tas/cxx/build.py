"""Builds cxx and compares with the committed images: `python -m tests.tas.cxx.build [--write]`."""

from __future__ import annotations

import sys

from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from ta_loader.samples import build
from tests.tas import cxx


def recipe(arch: Arch) -> build.Recipe:
    """T32 on arm: one of its commands is about IT blocks."""
    extra = ("-mthumb", "-DTA_HAS_UNWINDER") if arch is Arch.ARM else ()
    return build.Recipe(
        cxx.UUIDS[arch],
        arch,
        cxx.HERE,
        (cxx.HERE / "cxx.cpp", cxx.HERE / "support.c"),
        extra,
        script=cxx.HERE / "cxx.ld",
        libraries=("-lsupc++", "-lgcc_eh", "-lgcc"),
    )


if __name__ == "__main__":
    sys.exit(build.main(tuple(recipe(arch) for arch in TA_ARCHES)))
