"""Builds prof and compares with the committed images: `python -m tests.tas.prof.build [--write]`."""

from __future__ import annotations

import sys

from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from ta_loader.samples import build
from tests.tas import prof


def recipe(arch: Arch) -> build.Recipe:
    """On arm every function needs a frame with its return address, for tracing to put another in its place."""
    frames = ("-fno-omit-frame-pointer", "-mapcs-frame") if arch is Arch.ARM else ("-fno-omit-frame-pointer",)
    return build.Recipe(prof.UUIDS[arch], arch, prof.HERE, (prof.HERE / "prof.c",), ("-pg", *frames))


if __name__ == "__main__":
    sys.exit(build.main(tuple(recipe(arch) for arch in TA_ARCHES)))
