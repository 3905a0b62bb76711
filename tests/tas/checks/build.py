"""Builds checks and compares with the committed images: `python -m tests.tas.checks.build [--write]`."""

from __future__ import annotations

import sys

from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from ta_loader.samples import build
from tests.tas import checks

OPTIONS = ("-fstack-protector-strong", "-fsanitize=undefined")


def recipe(arch: Arch) -> build.Recipe:
    extra = (*OPTIONS, "-mthumb") if arch is Arch.ARM else OPTIONS
    return build.Recipe(checks.UUIDS[arch], arch, checks.HERE, (checks.HERE / "checks.c",), extra)


if __name__ == "__main__":
    sys.exit(build.main(tuple(recipe(arch) for arch in TA_ARCHES)))
