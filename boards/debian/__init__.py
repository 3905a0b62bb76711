"""Debian trixie's packages, unpacked in a cache: the arm64 kernel, OP-TEE's programs, TAs and development kit.

Nothing here needs root or changes the system's package state: apt is pointed at sources, lists and a status file of its
own, and checks the archive's signature itself. The mirror is the one that this machine's apt is set up with already.
A folder is fetched once and stays; delete it to have the current versions.
"""

from __future__ import annotations

from boards.debian.apt import FetchError
from boards.debian.mirror import find_mirror
from boards.debian.packages import BOOT, BUSYBOX, CLIENT, KIT, LIB_DIR, OPTEE, PKCS11, TA_DIR, PackageSet, root, roots

__all__ = [
    "BOOT",
    "BUSYBOX",
    "CLIENT",
    "KIT",
    "LIB_DIR",
    "OPTEE",
    "PKCS11",
    "TA_DIR",
    "FetchError",
    "PackageSet",
    "find_mirror",
    "root",
    "roots",
]
