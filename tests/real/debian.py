"""Debian's packages for tests (`boards.debian`): a root, or the reason why there is none and the test is skipped."""

from __future__ import annotations

import functools
from pathlib import Path

from boards.debian import BOOT, BUSYBOX, CLIENT, KIT, LIB_DIR, OPTEE, TA_DIR, FetchError, PackageSet
from boards.debian import root as fetched
from ta_loader.errors import UsageError

__all__ = ["BUSYBOX", "KIT", "LIB_DIR", "TA_DIR", "FetchError"]

FIRMWARE = PackageSet("firmware", ("optee-os", "u-boot-qemu"))
"""OP-TEE and U-Boot for QEMU's board; TF-A for it is in no package."""
PKCS11 = PackageSet(
    "PKCS#11 programs",
    (
        *("opensc", "opensc-pkcs11", "openssl", "pkcs11-provider"),
        *("libeac3", "libreadline8t64", "libtinfo6", "libglib2.0-0t64", "libpcre2-8-0", "libpcsclite1", "libffi8"),
        *("libmount1", "libblkid1", "libselinux1", "libatomic1"),
    ),
)
"""Programs that use a PKCS#11 module, and what they load beside `boards.debian.CLIENT`."""


@functools.cache
def outcome(wanted: PackageSet) -> tuple[Path | None, str]:
    """The root of a set; or None, and why it is not to be had."""
    try:
        return fetched(wanted), ""
    except UsageError as problem:
        return None, str(problem)


def root() -> Path | None:
    """Of OP-TEE's programs, TAs and development kit; None if not to be had (`why_not` says why)."""
    return outcome(OPTEE)[0]


def why_not() -> str:
    """Why `root` is None; "" if it is not."""
    return outcome(OPTEE)[1]


def ta_dir() -> Path | None:
    """Folder of the test TAs, `<uuid>.ta`."""
    base = root()
    return None if base is None else base / TA_DIR


def kit() -> Path | None:
    """The TA development kit (aarch64): include, lib, mk, keys, scripts, and the PKCS#11 and other TAs in `ta/`."""
    base = root()
    return None if base is None else base / KIT


def client_root() -> Path | None:
    """Of the clients' libraries; None if not to be had (`why_no_client` says why)."""
    return outcome(CLIENT)[0]


def why_no_client() -> str:
    """Why `client_root` is None; "" if it is not."""
    return outcome(CLIENT)[1]


def boot_root() -> tuple[Path | None, str]:
    """Of the kernel and busybox; or None, and why not."""
    return outcome(BOOT)


def firmware_root() -> tuple[Path | None, str]:
    """Of `FIRMWARE`; or None, and why not."""
    return outcome(FIRMWARE)


def pkcs11_root() -> tuple[Path | None, str]:
    """Of `PKCS11`; or None, and why not."""
    return outcome(PKCS11)
