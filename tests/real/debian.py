"""Debian's packages for tests (`boards.debian`): a root, or the reason why there is none and the test is skipped."""

from __future__ import annotations

import functools
import platform
import shlex
from pathlib import Path

from boards.debian import BOOT, BUSYBOX, CLIENT, KIT, LIB_DIR, OPTEE, PKCS11, TA_DIR, FetchError, PackageSet
from boards.debian import root as fetched
from south.errors import UsageError

__all__ = ["BUSYBOX", "KIT", "LIB_DIR", "PKCS11", "TA_DIR", "FetchError"]

FIRMWARE = PackageSet("firmware", ("optee-os", "u-boot-qemu"))
"""OP-TEE and U-Boot for QEMU's board; TF-A for it is in no package."""
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Debian's names of the architectures on which its QEMU can run here, by uname's."""
QEMU = PackageSet(
    "QEMU",
    (
        *("qemu-system-arm", "libc6", "libgcc-s1", "libatomic1", "libaio1t64", "libblkid1", "libbpf1", "libcap2"),
        *("libcapstone5", "libdaxctl1", "libelf1t64", "libexecs1", "libfdt1", "libffi8", "libfuse3-4"),
        *("libglib2.0-0t64", "libgmp10", "libgnutls30t64", "libhogweed6t64", "libibverbs1", "libidn2-0"),
        *("libjpeg62-turbo", "libkmod2", "libmount1", "libndctl6", "libnettle8t64", "libnl-3-200", "libnl-route-3-200"),
        *("libnuma1", "libp11-kit0", "libpcre2-8-0", "libpixman-1-0", "libpmem1", "libpng16-16t64", "librdmacm1t64"),
        *("libsasl2-2", "libseccomp2", "libselinux1", "libslirp0", "libssl3t64", "libtasn1-6", "libudev1"),
        *("libunistring5", "liburing2", "libuuid1", "libvdeplug2t64", "libzstd1", "zlib1g"),
    ),
    architecture=MACHINES.get(platform.machine(), ""),
)
"""QEMU 10.0 with the C library and all else that it loads."""


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


def qemu(folder: Path) -> tuple[Path | None, str]:
    """A program in `folder` that runs `QEMU` on its own libraries, whatever this machine has; or None, and why not."""
    if not QEMU.architecture:
        return None, f"Debian's QEMU for {platform.machine()} is not listed here"
    base, why_not_here = outcome(QEMU)
    if base is None:
        return None, why_not_here
    loader = next(base.glob("usr/lib/*-linux-gnu/ld-linux-*.so.*"))
    words = [str(loader), "--library-path", str(loader.parent), str(base / "usr/bin/qemu-system-aarch64")]
    program = folder / "qemu-system-aarch64"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    return program, ""
