"""`litebox-ta new NAME`: a project with a TA, its Makefile, tests and a CI recipe, of files in ta_loader/project."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option
from tee.abi.uuids import parse_uuid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from ta_loader.cli.options import Arguments

TEMPLATE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "project")
"""Folder of the files that a project begins with; `@NAME@` and the like stand for what differs, in file names, too."""
SUFFIX = ".in"
"""Of each of them, so that no tool takes them for files of this package."""
_HIDDEN = ("gitignore",)
"""Files whose names begin with a dot in the project."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_TAKEN = re.compile(
    r"ta|u?tee(_\w*)?|pta_\w*|user_ta_\w*|std\w+|inttypes|limits|assert|ctype|errno|malloc|trace|compiler|util"
)
"""Identifiers that a C header of the development kit, or a macro in one, has already."""


def run(arguments: Arguments) -> int:
    name = arguments.words[0]
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"new {name!r}: a name has up to 32 small letters, digits, '-' and '_', and begins with a letter"
        )
    if _TAKEN.fullmatch(name.replace("-", "_")):
        raise UsageError(f"new {name!r}: a header of the development kit is called so; name it {name}-app, say")
    folder = arguments.one("--dir") or name
    uuid = _uuid(arguments.one("--uuid"))
    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        raise UsageError(f"{folder} exists; give a folder that does not, with --dir")
    try:
        _write(folder, values(name, uuid))
    except OSError as problem:
        raise UsageError(f"{problem.filename or folder}: {problem.strerror}") from None
    print(f"{folder}: a TA with UUID {uuid}\nnext: cd {folder} && make test")
    return exits.OK


def _uuid(text: str | None) -> UUID:
    if text is None:
        import uuid

        return uuid.uuid4()
    found = parse_uuid(text)
    if found is None:
        raise UsageError(f"--uuid {text}: not a UUID")
    return found


def values(name: str, uuid: UUID) -> dict[str, str]:
    """What stands for what in the template. UUID_C: an initialiser of `TEE_UUID`."""
    identifier = name.replace("-", "_")
    low, middle, high = uuid.fields[:3]
    octets = ", ".join(f"0x{octet:02x}" for octet in uuid.bytes[8:])
    return {
        "@NAME@": name,
        "@IDENT@": identifier,
        "@UPPER@": identifier.upper(),
        "@UUID@": str(uuid),
        "@UUID_C@": f"{{0x{low:08x}, 0x{middle:04x}, 0x{high:04x}, {{{octets}}}}}",
    }


def filled(text: str, given: dict[str, str]) -> str:
    for mark, value in given.items():
        text = text.replace(mark, value)
    return text


def template_files() -> Iterator[str]:
    """Paths below TEMPLATE."""
    for folder, folders, names in os.walk(TEMPLATE, onerror=_fail):
        folders[:] = sorted(each for each in folders if each != "__pycache__")
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), TEMPLATE)


def _fail(problem: OSError) -> None:
    """Of a folder that cannot be listed; `os.walk` would pass over it, and a part of the project be missing."""
    raise problem


def _write(folder: str, given: dict[str, str]) -> None:
    """Beside the folder first, so that it appears whole."""
    from south.replacing import temporary_folder

    within, last = os.path.split(os.path.abspath(folder))
    with temporary_folder(last, within, 0o777) as work:
        for path in template_files():
            name = filled(path.removesuffix(SUFFIX), given)
            target = os.path.join(work, f".{name}" if name in _HIDDEN else name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            source = os.path.join(TEMPLATE, path)
            with open(source, encoding="utf-8") as file:
                text = filled(file.read(), given)
            with open(target, "w", encoding="utf-8") as out:
                out.write(text)
            if text.startswith("#!"):
                os.chmod(target, os.stat(target).st_mode | 0o111 & ~_umask())
        if os.path.isdir(folder):
            os.rmdir(folder)
        os.rename(work, folder)


def _umask() -> int:
    """The process's own; it can be read only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


COMMAND = Command(
    name="new",
    summary="Make a project: a TA in C, its Makefile, tests with pytest, a CI recipe.",
    words=("NAME",),
    options=(
        Option("--uuid", "UUID", "the TA's (default: a random one)"),
        Option("--dir", "DIR", "where the project goes (default: NAME)"),
    ),
    run=run,
    epilog="""\
The project builds with OP-TEE's TA development kit (litebox-ta kit) and gcc for aarch64.

examples:
  litebox-ta new greeter
  cd greeter && make test""",
)
