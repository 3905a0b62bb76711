"""Sets of packages that belong together, each unpacked below one root in the cache.

Environment:
    LITEBOX_DEBIAN_ROOT         an unpacked root of `OPTEE` to use instead of fetching
    LITEBOX_DEBIAN_CLIENT_ROOT  the same, of `CLIENT`
    LITEBOX_DEBIAN_PKCS11_ROOT  the same, of `PKCS11`
    LITEBOX_DEBIAN_BOOT_ROOT    the same, of `BOOT`
    LITEBOX_DEBIAN_MIRROR       a Debian mirror's URI, for machines whose apt has none
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from boards.cache import cache_dir, locked
from boards.debian.apt import Apt, FetchError
from south.replacing import sweep_folder, temporary_folder
from tee.errors import reason

SUITE = "trixie"
ARCHITECTURE = "arm64"
PART = "debian"
"""Of the cache."""
_FETCH = "fetch"

TA_DIR = Path("usr/lib/optee_armtz")
KIT = Path("usr/lib/optee-os-dev/vexpress-qemu_armv8a")
LIB_DIR = Path("usr/lib/aarch64-linux-gnu")
BUSYBOX = Path("usr/bin/busybox")


class PackageSet(NamedTuple):
    """what: for messages. variable: of the environment, names a root instead ("": none does). holds: paths that such a
    root must have. architecture: Debian's name of it."""

    what: str
    packages: tuple[str, ...]
    variable: str = ""
    holds: tuple[Path, ...] = ()
    architecture: str = ARCHITECTURE

    @property
    def home(self) -> Path:
        """Its folder in the cache, with root/ and manifest.json (versions and checksums)."""
        name = hashlib.sha256(" ".join(self.packages).encode()).hexdigest()[:12]
        return cache_dir(PART) / f"{SUITE}-{self.architecture}-{name}"


OPTEE = PackageSet(
    "OP-TEE packages",
    ("optee-test-qemu", "optee-os-dev", "libteec2", "tee-supplicant"),
    "LITEBOX_DEBIAN_ROOT",
    (TA_DIR, KIT),
)
"""xtest with its TAs, the TA development kit (and in it the TA of PKCS#11), tee-supplicant."""
CLIENT = PackageSet(
    "client libraries",
    (
        *("libc6", "libgcc-s1", "libssl3t64", "libzstd1", "zlib1g"),
        *("libckteec0t64", "libseteec0t64", "libteeacl0.1.0t64", "libuuid1", "optee-client-dev"),
    ),
    "LITEBOX_DEBIAN_CLIENT_ROOT",
    (LIB_DIR,),
)
"""What xtest and OP-TEE's other client libraries load, and the headers that clients are compiled with."""
PKCS11 = PackageSet(
    "PKCS#11 programs",
    (
        *("opensc", "opensc-pkcs11", "openssl", "pkcs11-provider"),
        *("libeac3", "libreadline8t64", "libtinfo6", "libglib2.0-0t64", "libpcre2-8-0", "libpcsclite1", "libffi8"),
        *("libmount1", "libblkid1", "libselinux1", "libatomic1"),
    ),
    "LITEBOX_DEBIAN_PKCS11_ROOT",
)
"""Programs that use a PKCS#11 module, and what they load beside `boards.debian.CLIENT`."""
BOOT = PackageSet(
    "kernel and busybox",
    ("linux-image-arm64", "busybox-static"),
    "LITEBOX_DEBIAN_BOOT_ROOT",
    (Path("boot"), BUSYBOX),
)
"""An unmodified kernel, and the program that does the most in a small guest."""


def root(wanted: PackageSet) -> Path:
    """Where the set is unpacked, fetched on first use. FetchError, with the reason, if it is not to be had."""
    return roots(wanted)[0]


def roots(*wanted: PackageSet) -> list[Path]:
    """The same of several, with one look at the mirror's lists."""
    sweep_folder(cache_dir(PART), _FETCH)  # here, since a set is fetched but once
    out = [_given(each) or each.home / "root" for each in wanted]
    missing = [each for each, path in zip(wanted, out, strict=True) if not path.is_dir()]
    if missing:
        _fetch(missing)
    return out


def _given(wanted: PackageSet) -> Path | None:
    name = os.environ.get(wanted.variable, "") if wanted.variable else ""
    if not name:
        return None
    base = Path(name).absolute()
    if not all((base / path).exists() for path in wanted.holds):
        raise FetchError(f"{wanted.variable}={name} holds no {' or no '.join(map(str, wanted.holds))}")
    return base


def _fetch(wanted: list[PackageSet]) -> None:
    """Under a lock, each moved into place whole: whoever finds its folder finds all of it."""
    what = f"Debian's {' and '.join(each.what for each in wanted)}"
    with locked(PART) as cache:
        missing = [each for each in wanted if not each.home.is_dir()]
        if not missing:
            return
        try:
            with temporary_folder(_FETCH, cache) as work:
                apts: dict[str, Apt] = {}
                for number, each in enumerate(missing):
                    apt = apts.get(each.architecture)
                    if apt is None:
                        apt = apts[each.architecture] = Apt(work / each.architecture, SUITE, each.architecture)
                        apt.update()
                    done = work / f"done-{number}"
                    (done / "root").mkdir(parents=True)
                    manifest = apt.download(each.packages, done / "root")
                    (done / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
                    done.rename(each.home)
        except FetchError as problem:
            raise FetchError(f"{what}: {problem}") from None
        except OSError as problem:
            raise FetchError(f"{what}: {reason(problem)}") from None
