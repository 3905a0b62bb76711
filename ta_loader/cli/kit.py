"""`litebox-ta kit`: where the TA development kit, the test TAs and a root with OP-TEE's programs are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option

if TYPE_CHECKING:
    from collections.abc import Callable

    from ta_loader.cli.options import Arguments

VARIABLE = "TA_DEV_KIT_DIR"
"""Names a kit of the user's own, as OP-TEE's makefiles have it."""


def _kit() -> Path:
    own = os.environ.get(VARIABLE)
    if own:
        if not (Path(own) / "mk" / "ta_dev_kit.mk").is_file():
            raise UsageError(f"{VARIABLE}={own} holds no mk/ta_dev_kit.mk; name a kit, or unset it for Debian's")
        return Path(own).absolute()
    from boards.debian import KIT, OPTEE, root

    return root(OPTEE) / KIT


def _tas() -> Path:
    from boards.debian import OPTEE, TA_DIR, root

    return root(OPTEE) / TA_DIR


def _root() -> Path:
    from boards.debian.sysroot import kept

    return kept()


class Part(NamedTuple):
    """about: what it is good for. find: its path, fetched on first use; `boards.debian.FetchError` if that fails."""

    about: str
    find: Callable[[], Path]


PARTS = {
    "kit": Part(f"TA development kit for aarch64 ({VARIABLE}); its keys are trusted with --trust", _kit),
    "tas": Part("OP-TEE's test TAs, for --ta-dir", _tas),
    "root": Part("xtest, tee-supplicant, OpenSC and their libraries (aarch64), for litebox-ta with --sysroot", _root),
    "python": Part("interpreter with what the kit's signing script imports (PYTHON3)", lambda: Path(sys.executable)),
}


def run(arguments: Arguments) -> int:
    if arguments.words:
        name = arguments.words[0]
        if name not in PARTS:
            raise UsageError(f"kit: there is no {name!r}; there are {', '.join(PARTS)}")
        if arguments.switch("--json") or arguments.one("--link"):
            raise UsageError("kit PART prints one path; --json and --link are for all of them")
        print(PARTS[name].find())
        return exits.OK
    found = {name: part.find() for name, part in PARTS.items()}
    folder = arguments.one("--link")
    if folder is not None:
        _link(Path(folder), {name: path for name, path in found.items() if path.is_dir()})
    if arguments.switch("--json"):
        from ta_loader.cli.output import print_json

        print_json({name: str(path) for name, path in found.items()})
    else:
        for name, path in found.items():
            print(f"{name:8}{path}\n        {PARTS[name].about}")
    return exits.OK


def _link(folder: Path, paths: dict[str, Path]) -> None:
    """Make links named as the parts; replace only links. UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            link = folder / name
            if link.is_symlink():
                link.unlink()
            elif link.exists():
                raise UsageError(f"--link {folder}: {link} exists and is no link; name another folder")
            link.symlink_to(path)
    except OSError as problem:
        raise UsageError(f"--link {folder}: {problem.strerror}") from None


COMMAND = Command(
    name="kit",
    summary="Print where the TA development kit and the test TAs are; fetch them on first use.",
    words=("[PART]",),
    options=(
        Option("--link", "DIR", "make links kit, tas and root in DIR", out=True),
        Option("--json", "", "print a JSON object instead of text"),
    ),
    run=run,
    choices=tuple(PARTS),
    epilog=f"""\
PART is one of {", ".join(PARTS)}: its path alone is printed, for makefiles and scripts.

They are Debian's packages optee-os-dev, optee-test-qemu, tee-supplicant, opensc and what they load, fetched
through this machine's apt, without root; nothing is installed, and apt checks the archive's signature. They stay in
the cache, $LITEBOX_CACHE or ~/.cache/litebox-ta. LITEBOX_DEBIAN_MIRROR names a mirror where apt has none.
{VARIABLE} names a kit of your own instead; without apt, build one from OP-TEE's sources (make ta_dev_kit).

examples:
  make TA_DEV_KIT_DIR=$(litebox-ta kit kit) PYTHON3=$(litebox-ta kit python) CROSS_COMPILE=aarch64-linux-gnu-
  litebox-ta kit --link .
  litebox-ta run 5b9e0e40-2636-11e1-ad9e-0002a5d5c51b --ta-dir tas --trust kit --invoke 5 in:zero:32""",
)
