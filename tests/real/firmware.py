"""A folder of firmware for QEMU's board with a real OP-TEE: Debian's OP-TEE and U-Boot and the guest that comes along,
under a TF-A that somebody brings: no package has one for this board
(PLAT=qemu SPD=opteed QEMU_USE_GIC_DRIVER=QEMU_GICV3).

Environment:
    LITEBOX_TFA    a folder with bl1.bin, bl2.bin and bl31.bin
"""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

from boards.guest import initrd, kernel
from south.errors import UsageError
from tests.real import debian

STAGES = ("bl1.bin", "bl2.bin", "bl31.bin")
OPTEE = Path("usr/lib/optee/vexpress-qemu_armv8a")
UBOOT = Path("usr/lib/u-boot/qemu_arm64/u-boot.bin")


def firmware(folder: Path) -> str:
    """Fill `folder` as `qemu-virt-optee` wants it. "" or why that cannot be done."""
    built = Path(os.environ.get("LITEBOX_TFA") or "/nonexistent")
    if not all((built / name).is_file() for name in STAGES):
        return f"no TF-A for QEMU's board: LITEBOX_TFA names no folder with {', '.join(STAGES)}"
    binaries, why_not = debian.firmware_root()
    if binaries is None:
        return why_not
    for name in STAGES:
        shutil.copy(built / name, folder / name)
    for name, part in (("bl32", "header"), ("bl32_extra1", "pager"), ("bl32_extra2", "pageable")):
        shutil.copy(binaries / OPTEE / f"tee-{part}_v2.bin", folder / f"{name}.bin")
    shutil.copy(binaries / UBOOT, folder / "bl33.bin")
    try:
        shutil.copy(kernel(), folder / "Image")
        with gzip.open(folder / "rootfs.cpio.gz", "wb", 1) as out, initrd().open("rb") as image:
            shutil.copyfileobj(image, out)
    except UsageError as problem:
        return str(problem)
    return ""
