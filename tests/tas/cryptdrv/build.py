"""Builds cryptdrv and compares with the committed images: `python -m tests.tas.cryptdrv.build [--write]`."""

from __future__ import annotations

import sys

from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from ta_loader.samples import build
from tests.tas import cryptdrv


def recipe(arch: Arch) -> build.Recipe:
    """A32 on arm, so that both instruction sets have a prebuilt TA (hello is T32)."""
    return build.Recipe(cryptdrv.UUIDS[arch], arch, cryptdrv.HERE, (cryptdrv.HERE / "cryptdrv.c",))


if __name__ == "__main__":
    sys.exit(build.main(tuple(recipe(arch) for arch in TA_ARCHES)))
