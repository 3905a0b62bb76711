"""Packages of a suite and an architecture that need not be this machine's, by an apt with a state of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from boards.debian.mirror import find_mirror
from boards.progress import told
from south.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYRINGS = ("debian-archive-trixie-automatic.gpg", "debian-archive-keyring.gpg")
"""In this order: an older distribution's common keyring may lack the suite's key."""
TIMEOUT = 600
"""Seconds for one run of apt."""
CURRENT = {"linux-image-arm64": "linux-image-"}
"""Packages that only depend on the current version of what they name, and how its name begins."""


class FetchError(UsageError):
    """The packages are not to be had; says why."""


class Apt:
    """work: a folder, empty or yet to be made, for its state and what it downloads.

    FetchError where there is no apt or no mirror.
    """

    def __init__(self, work: Path, suite: str, architecture: str) -> None:
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise FetchError(f"{tool} is not installed")
        mirror = os.environ.get("LITEBOX_DEBIAN_MIRROR") or find_mirror()
        if not mirror:
            raise FetchError("this machine's apt has no Debian mirror; LITEBOX_DEBIAN_MIRROR can name one")
        self._work = work
        self._options = _configure(work, mirror, suite, architecture)

    def update(self) -> None:
        with told("fetching Debian's package lists"):
            self._run(["apt-get", *self._options, "update"])

    def download(self, packages: Sequence[str], into: Path) -> dict[str, dict[str, str]]:
        """Fetch, check and unpack; for each package its version, file name and sha256."""
        debs = self._work / "debs"
        shutil.rmtree(debs, ignore_errors=True)
        debs.mkdir()
        names = [self._current(package) for package in packages]

        def state() -> str:
            return f"{sum(path.stat().st_size for path in debs.glob('**/*') if path.is_file()) >> 20} MiB"

        with told(f"fetching Debian's {', '.join(names)}", state):
            self._run(["apt-get", *self._options, "download", *names], debs)
        manifest: dict[str, dict[str, str]] = {}
        for deb in sorted(debs.glob("*.deb")):
            package, version, _ = deb.name.split("_", 2)
            with deb.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            manifest[package] = {"version": version, "file": deb.name, "sha256": digest}
            with told(f"unpacking {deb.name}"):
                self._run(["dpkg-deb", "-x", str(deb), str(into)])
        missing = set(names) - set(manifest)
        if missing:
            raise FetchError(f"apt-get did not download {', '.join(sorted(missing))}")
        return manifest

    def _current(self, package: str) -> str:
        """The package itself, or what it stands for."""
        prefix = CURRENT.get(package)
        if prefix is None:
            return package
        for line in self._run(["apt-cache", *self._options[:2], "depends", package]).splitlines():
            name = line.partition("Depends:")[2].strip()
            if name.startswith(prefix):
                return name
        raise FetchError(f"{package} depends on no {prefix}*")

    def _run(self, command: Sequence[str], folder: Path | None = None) -> str:
        """What it printed; FetchError if it failed."""
        environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        environment.pop("APT_CONFIG", None)
        try:
            done = subprocess.run(
                command,
                cwd=folder or self._work,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FetchError(f"{command[0]} took more than {TIMEOUT} s") from None
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
            raise FetchError(f"{command[0]} failed: {'; '.join(words[:3]) or done.returncode}")
        return done.stdout


def _configure(work: Path, mirror: str, suite: str, architecture: str) -> list[str]:
    """Lay out apt's private state under `work`; returns the options that point apt at it."""
    for folder in ("lists/partial", "cache/archives/partial", "state"):
        (work / folder).mkdir(parents=True)
    (work / "state/status").touch()
    keyring = next((p for p in (Path("/usr/share/keyrings") / k for k in KEYRINGS) if p.is_file()), None)
    signed = f" signed-by={keyring}" if keyring else ""
    (work / "sources.list").write_text(f"deb [arch={architecture}{signed}] {mirror} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State": work / "state",
        "Dir::State::Lists": work / "lists",
        "Dir::State::status": work / "state/status",
        "Dir::Cache": work / "cache",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
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
