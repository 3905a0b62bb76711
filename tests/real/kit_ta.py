"""TAs that tests build with OP-TEE's own development kit."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from uuid import UUID

COMPILER = "aarch64-linux-gnu-gcc"
_HEADER = """
#define TA_UUID {{ 0x{time_low:08x}, 0x{time_mid:04x}, 0x{time_hi:04x}, {{ {rest} }} }}
#define TA_FLAGS {flags}
#define TA_STACK_SIZE (16 * 1024)
#define TA_DATA_SIZE (64 * 1024)
"""


def build(kit: Path, source: Path, uuid: UUID, flags: int, into: Path) -> Path:
    """The signed TA, `<into>/<uuid>.ta`. flags: C, of TA_FLAG_*. Skips the test where no compiler is."""
    for tool in ("make", COMPILER):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    folder = into / f"build-{uuid}"
    folder.mkdir(parents=True)
    low, mid, high, *_ = uuid.fields
    rest = ", ".join(f"0x{octet:02x}" for octet in uuid.bytes[8:])
    header = _HEADER.format(time_low=low, time_mid=mid, time_hi=high, rest=rest, flags=f"{flags:#x}")
    (folder / "user_ta_header_defines.h").write_text(header)
    shutil.copy(source, folder / "ta.c")
    (folder / "sub.mk").write_text("global-incdirs-y += .\nsrcs-y += ta.c\n")
    (folder / "Makefile").write_text(f"BINARY = {uuid}\ninclude $(TA_DEV_KIT_DIR)/mk/ta_dev_kit.mk\n")
    prefix = COMPILER.removesuffix("gcc")
    made = subprocess.run(
        ["make", "-C", str(folder), f"TA_DEV_KIT_DIR={kit}", f"CROSS_COMPILE={prefix}"],
        capture_output=True, text=True, check=False, env={**os.environ, "MAKEFLAGS": ""},
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    return Path(shutil.copy(folder / f"{uuid}.ta", into))
