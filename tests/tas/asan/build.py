"""Builds asan and compares with the committed images: `python -m tests.tas.asan.build [--write]`."""

from __future__ import annotations

import sys

from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from ta_loader.samples import build
from tests.tas import asan

OPTIONS = (
    "-fsanitize=kernel-address",
    "-fasan-shadow-offset=0x70000000",
    "--param=asan-globals=1",
    "--param=asan-instrumentation-with-call-threshold=0",
    "--param=asan-stack=1",
)
"""Of optee_os ta/mk/ta_dev_kit.mk."""


def recipe(arch: Arch) -> build.Recipe:
    """T32 on arm, as OP-TEE builds TAs."""
    extra = (*OPTIONS, "-mthumb") if arch is Arch.ARM else OPTIONS
    return build.Recipe(asan.UUIDS[arch], arch, asan.HERE, (asan.HERE / "asan.c",), extra, script=asan.HERE / "asan.ld")


if __name__ == "__main__":
    sys.exit(build.main(tuple(recipe(arch) for arch in TA_ARCHES)))
