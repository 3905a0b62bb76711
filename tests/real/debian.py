"""OP-TEE's test TAs and TA development kit, as Debian packages them, cached outside the checkout.

Nothing here needs root or changes the system's package state: apt is pointed at sources, lists and
a status file of its own. The mirror is the one that this machine's apt is set up with already.

Environment:
    LITEBOX_DEBIAN_ROOT         an unpacked root to use instead of fetching
    LITEBOX_DEBIAN_CLIENT_ROOT  the same, of the clients' libraries
    LITEBOX_DEBIAN_BOOT_ROOT    the same, of the kernel and busybox
    LITEBOX_CACHE               where to cache (default: $XDG_CACHE_HOME/litebox-ta)
    LITEBOX_DEBIAN_MIRROR       a Debian mirror's URI, for machines whose apt has none
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SUITE = "trixie"
ARCHITECTURE = "arm64"
PACKAGES = ("optee-test-qemu", "optee-os-dev", "libteec2", "tee-supplicant")
CLIENT_PACKAGES = (
    *("libc6", "libgcc-s1", "libssl3t64", "libzstd1", "zlib1g"),
    *("libckteec0t64", "libseteec0t64", "libteeacl0.1.0t64", "libuuid1", "optee-client-dev"),
)
"""What xtest and OP-TEE's other client libraries load, and the headers that clients are compiled with."""
BOOT_PACKAGES = ("linux-image-arm64", "busybox-static")
"""An unmodified kernel and all that an initramfs needs."""
FIRMWARE_PACKAGES = ("optee-os", "u-boot-qemu")
"""OP-TEE and U-Boot for QEMU's board; TF-A for it is in no package."""
CURRENT = {"linux-image-arm64": "linux-image-"}
"""Packages that only depend on the current version of what they name, and how its name begins."""
PKCS11_PACKAGES = (
    *("opensc", "opensc-pkcs11", "openssl", "pkcs11-provider"),
    *("libeac3", "libreadline8t64", "libtinfo6", "libglib2.0-0t64", "libpcre2-8-0", "libpcsclite1", "libffi8"),
    *("libmount1", "libblkid1", "libselinux1", "libatomic1"),
)
"""Programs that use a PKCS#11 module, and what they load beside `CLIENT_PACKAGES`."""

TA_DIR = Path("usr/lib/optee_armtz")
KIT = Path("usr/lib/optee-os-dev/vexpress-qemu_armv8a")
LIB_DIR = Path("usr/lib/aarch64-linux-gnu")
BUSYBOX = Path("usr/bin/busybox")

KEYRINGS = ("debian-archive-trixie-automatic.gpg", "debian-archive-keyring.gpg")
"""In this order: an older distribution's common keyring may lack the suite's key."""

TIMEOUT = 600
"""Seconds for one run of apt."""


class FetchError(Exception):
    """The packages are not to be had; says why."""


def root() -> Path | None:
    """Root of the unpacked packages, fetched on first use; None if not to be had (`why_not` says why)."""
    return _outcome()[0]


def why_not() -> str:
    """Why `root` is None; "" if it is not."""
    return _outcome()[1]


def ta_dir() -> Path | None:
    """Folder of the test TAs, `<uuid>.ta`."""
    base = root()
    return None if base is None else base / TA_DIR


def kit() -> Path | None:
    """The TA development kit (aarch64): include, lib, mk, keys, scripts, and the PKCS#11 and other TAs in `ta/`."""
    base = root()
    return None if base is None else base / KIT


def client_root() -> Path | None:
    """Root of `CLIENT_PACKAGES`, fetched on first use; None if not to be had (`why_no_client` says why)."""
    return _client_outcome()[0]


def why_no_client() -> str:
    """Why `client_root` is None; "" if it is not."""
    return _client_outcome()[1]


@functools.cache
def boot_root() -> tuple[Path | None, str]:
    """Root of `BOOT_PACKAGES`, fetched on first use; or None, and why it is not to be had."""
    given = os.environ.get("LITEBOX_DEBIAN_BOOT_ROOT")
    if given:
        base = Path(given)
        if (base / "boot").is_dir() and (base / BUSYBOX).is_file():
            return base, ""
        return None, f"LITEBOX_DEBIAN_BOOT_ROOT={given} holds no boot or no {BUSYBOX}"
    try:
        return _cached(BOOT_PACKAGES), ""
    except (FetchError, OSError) as error:
        return None, f"Debian's kernel and busybox: {error}"


@functools.cache
def firmware_root() -> tuple[Path | None, str]:
    """Root of `FIRMWARE_PACKAGES`; or None, and why not."""
    try:
        return _cached(FIRMWARE_PACKAGES), ""
    except (FetchError, OSError) as error:
        return None, f"Debian's firmware: {error}"


@functools.cache
def pkcs11_root() -> tuple[Path | None, str]:
    """Root of `PKCS11_PACKAGES`, fetched on first use; or None, and why it is not to be had."""
    try:
        return _cached(PKCS11_PACKAGES), ""
    except (FetchError, OSError) as error:
        return None, f"Debian's PKCS#11 programs: {error}"


@functools.cache
def _client_outcome() -> tuple[Path | None, str]:
    given = os.environ.get("LITEBOX_DEBIAN_CLIENT_ROOT")
    if given:
        base = Path(given)
        if (base / LIB_DIR).is_dir():
            return base, ""
        return None, f"LITEBOX_DEBIAN_CLIENT_ROOT={given} holds no {LIB_DIR}"
    try:
        return _cached(CLIENT_PACKAGES), ""
    except (FetchError, OSError) as error:
        return None, f"Debian's client libraries: {error}"


@functools.cache
def _outcome() -> tuple[Path | None, str]:
    given = os.environ.get("LITEBOX_DEBIAN_ROOT")
    if given:
        base = Path(given)
        if (base / TA_DIR).is_dir() and (base / KIT).is_dir():
            return base, ""
        return None, f"LITEBOX_DEBIAN_ROOT={given} holds no {TA_DIR} or no {KIT}"
    try:
        return _cached(PACKAGES), ""
    except (FetchError, OSError) as error:
        return None, f"Debian's OP-TEE packages: {error}"


def cache_dir() -> Path:
    """Folder for everything this module keeps."""
    given = os.environ.get("LITEBOX_CACHE")
    if given:
        return Path(given) / "debian"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "litebox-ta" / "debian"


def _cached(packages: Sequence[str]) -> Path:
    """The cached root of `packages`; fetched under a lock, and moved into place whole."""
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    home = cache / f"{SUITE}-{ARCHITECTURE}-{name}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix="fetch-") as work:
                done = _fetch(Path(work), packages)
                done.rename(home)
    return home / "root"


def _fetch(work: Path, packages: Sequence[str]) -> Path:
    """Download, check and unpack into a folder under `work`: root/ and manifest.json."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise FetchError(f"{tool} is not installed")
    mirror = os.environ.get("LITEBOX_DEBIAN_MIRROR") or find_mirror()
    options = _configure(work, mirror)
    _apt(work, [*options, "update"])
    names = {package: _current(work, options, package) for package in packages}
    _apt(work, [*options, "download", *names.values()])

    done = work / "done"
    (done / "root").mkdir(parents=True)
    manifest: dict[str, dict[str, str]] = {}
    for deb in sorted(work.glob("*.deb")):
        package, version, _ = deb.name.split("_", 2)
        manifest[package] = {"version": version, "file": deb.name, "sha256": _sha256(deb)}
        _run(["dpkg-deb", "-x", str(deb), str(done / "root")], work)
    missing = set(names.values()) - set(manifest)
    if missing:
        raise FetchError(f"apt-get did not download {', '.join(sorted(missing))}")
    (done / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return done


def _current(work: Path, options: Sequence[str], package: str) -> str:
    """The package itself, or what it stands for."""
    prefix = CURRENT.get(package)
    if prefix is None:
        return package
    for line in _run(["apt-cache", *options[:2], "depends", package], work).splitlines():
        name = line.partition("Depends:")[2].strip()
        if name.startswith(prefix):
            return name
    raise FetchError(f"{package} depends on no {prefix}*")


def _configure(work: Path, mirror: str) -> list[str]:
    """Lay out apt's private state under `work`; returns the options that point apt at it."""
    for folder in ("lists/partial", "cache/archives/partial", "state"):
        (work / folder).mkdir(parents=True)
    (work / "state/status").touch()
    keyring = next((p for p in (Path("/usr/share/keyrings") / k for k in KEYRINGS) if p.is_file()), None)
    signed = f" signed-by={keyring}" if keyring else ""
    (work / "sources.list").write_text(f"deb [arch={ARCHITECTURE}{signed}] {mirror} {SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State": work / "state",
        "Dir::State::Lists": work / "lists",
        "Dir::State::status": work / "state/status",
        "Dir::Cache": work / "cache",
        "APT::Architecture": ARCHITECTURE,
        "APT::Architectures": ARCHITECTURE,
        "APT::Get::List-Cleanup": "false",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Debug::NoLocking": "true",
    }
    # Hooks of the system's configuration clean or notify the system's own state: drop them all.
    lines = ["#clear APT::Update;", "#clear DPkg;", "#clear APT::Architectures;"]
    lines += [f'{name} "{value}";' for name, value in settings.items()]
    if os.geteuid() == 0:
        lines.append('APT::Sandbox::User "root";')  # the download user may not enter our folders
    (work / "apt.conf").write_text("\n".join(lines) + "\n")
    return ["-c", str(work / "apt.conf"), "-q", "-y"]


def find_mirror(folder: Path = Path("/etc/apt")) -> str:
    """URI of the Debian mirror that apt under `folder` is set up with; `FetchError` if there is none."""
    entries = _one_line_entries(folder / "sources.list")
    for path in sorted((folder / "sources.list.d").glob("*")):
        if path.suffix == ".list":
            entries += _one_line_entries(path)
        elif path.suffix == ".sources":
            entries += list(_deb822_entries(path.read_text()))
    for uri, suites, components in entries:
        main = [s for s in suites if not re.search(r"-security|-updates|-backports|/", s)]
        if main and "main" in components and re.search(r"\bdebian\b", uri) and "security" not in uri:
            return uri
    raise FetchError(f"no Debian mirror in {folder} (LITEBOX_DEBIAN_MIRROR can name one)")


Entry = tuple[str, list[str], list[str]]
"""(URI, suites, components)"""


def _one_line_entries(path: Path) -> list[Entry]:
    """`deb [options] uri suite component...` lines (sources.list(5))."""
    out: list[Entry] = []
    if not path.is_file():
        return out
    for line in path.read_text().splitlines():
        found = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if found:
            out.append((found[1], [found[2]], found[3].split()))
    return out


def _deb822_entries(text: str) -> Iterator[Entry]:
    """Stanzas of a .sources file (sources.list(5), DEB822-STYLE FORMAT)."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0].isspace():
                fields[last] = fields.get(last, "") + " " + line.strip()
            else:
                last, _, value = line.partition(":")
                last = last.strip().lower()
                fields[last] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0") or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            yield uri, fields.get("suites", "").split(), fields.get("components", "").split()


def _apt(work: Path, arguments: Iterable[str]) -> None:
    _run(["apt-get", *arguments], work)


def _run(command: Sequence[str], work: Path) -> str:
    """What it printed; FetchError if it failed."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    environment.pop("APT_CONFIG", None)
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{command[0]} took more than {TIMEOUT} s") from error
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
        raise FetchError(f"{command[0]} failed: {'; '.join(words[:3]) or done.returncode}")
    return done.stdout


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
