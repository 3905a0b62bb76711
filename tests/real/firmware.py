"""A folder of firmware for QEMU's board with a real OP-TEE: Debian's OP-TEE, U-Boot and kernel, under a TF-A that
somebody brings: no package has one for this board (PLAT=qemu SPD=opteed QEMU_USE_GIC_DRIVER=QEMU_GICV3).

Environment:
    LITEBOX_TFA    a folder with bl1.bin, bl2.bin and bl31.bin
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.real import debian
from tests.real.initramfs import busybox_initramfs

STAGES = ("bl1.bin", "bl2.bin", "bl31.bin")
OPTEE = Path("usr/lib/optee/vexpress-qemu_armv8a")
UBOOT = Path("usr/lib/u-boot/qemu_arm64/u-boot.bin")
LIBRARIES = ("libc.so.6", "libm.so.6", "libcrypto.so.3", "libz.so.1", "libzstd.so.1", "libckteec.so.0", "libteec.so.2")


def firmware(folder: Path) -> str:
    """Fill `folder` as `qemu-virt-optee` wants it. "" or why that cannot be done."""
    built = Path(os.environ.get("LITEBOX_TFA") or "/nonexistent")
    if not all((built / name).is_file() for name in STAGES):
        return f"no TF-A for QEMU's board: LITEBOX_TFA names no folder with {', '.join(STAGES)}"
    binaries, why_not = debian.firmware_root()
    kernel, why_no_kernel = debian.boot_root()
    if binaries is None or kernel is None:
        return why_not or why_no_kernel
    for name in STAGES:
        shutil.copy(built / name, folder / name)
    for name, part in (("bl32", "header"), ("bl32_extra1", "pager"), ("bl32_extra2", "pageable")):
        shutil.copy(binaries / OPTEE / f"tee-{part}_v2.bin", folder / f"{name}.bin")
    shutil.copy(binaries / UBOOT, folder / "bl33.bin")
    shutil.copy(next((kernel / "boot").glob("vmlinuz-*-arm64")), folder / "Image")
    modules = [next(kernel.rglob(f"{name}.ko.xz")) for name in ("tee", "optee")]
    programs = _programs()
    if not programs:
        return debian.why_not() or debian.why_no_client()
    (folder / "rootfs.cpio.gz").write_bytes(busybox_initramfs(kernel / debian.BUSYBOX, modules, programs))
    return ""


def _programs() -> dict[str, Path]:
    """xtest, tee-supplicant, their libraries and the test TAs, by their path in the guest."""
    optee, client = debian.root(), debian.client_root()
    if optee is None or client is None:
        return {}
    places = {"bin/xtest": optee / "usr/bin/xtest", "bin/tee-supplicant": optee / "usr/sbin/tee-supplicant"}
    places["lib/ld-linux-aarch64.so.1"] = client / debian.LIB_DIR / "ld-linux-aarch64.so.1"
    for name in LIBRARIES:
        base = optee if name.startswith("libteec.") else client
        places[f"lib/{name}"] = base / debian.LIB_DIR / name
    for path in (optee / debian.TA_DIR).glob("*.ta"):
        places[f"lib/optee_armtz/{path.name}"] = path
    return places
