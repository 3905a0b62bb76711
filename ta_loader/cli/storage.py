"""`litebox-ta storage`: look into trusted storage, take objects out, put them in, check it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

from south.descriptors import shut
from south.errors import UsageError
from south.linux_host.state import FILES, StateFolder, open_folder
from south.replacing import replace
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option
from ta_loader.cli.outputs import STDOUT
from ta_loader.cli.world_options import STATE_OPTION
from ta_loader.inputs import read_input, read_stdin
from ta_loader.outputs import require_file, require_folder
from tee.storage.oid import show_oid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ta_loader.cli.options import Arguments
    from tee.storage.dirfile import Key
    from tee.storage.inspect import Described
    from tee.storage.ree_fs import ReeFs

KEY_SIZE = 16
RECOVERED = (
    "litebox-ta: the directory's newest version was cut off while it was written, by a power cut: the one before it "
    "counts, and was made the only one"
)


class GivenRoot:
    """A root of trust with a key that the user gives."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def hardware_unique_key(self) -> bytes:
        return self._key

    def device_id(self) -> bytes:
        return b"BEEF" * 4


@contextlib.contextmanager
def open_store(arguments: Arguments, *, new: bool = False, changes: bool = False) -> Iterator[ReeFs]:
    """new: one is made in an empty folder. changes: what is in it. UsageError: there is none; StateError."""
    from normal_world.supplicant.files import ReeFiles
    from south.linux_host import linux_host
    from tee.storage.keys import StorageKeys
    from tee.storage.ree_fs import ReeFs

    state = arguments.one("--state")
    platform = linux_host(state)
    huk = arguments.one("--huk")
    root = platform.root_of_trust if huk is None else GivenRoot(_key_bytes(huk))
    folder = _open_folder(arguments, state, changes)
    try:
        shown = _shown(arguments)
        _require_store(folder, shown, new)
        files = ReeFiles(folder, shown=shown)
    finally:
        shut(folder)
    try:
        yield ReeFs(files, platform.entropy, StorageKeys(root))
    finally:
        files.shut()


def _open_folder(arguments: Arguments, state: str | None, changes: bool) -> int:
    """A store elsewhere, a board's, may belong to somebody else as long as it is only read."""
    place = arguments.one("--store")
    try:
        if place is None:
            return StateFolder(state).folder(FILES)
        if changes:
            return open_folder(place)
        return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{_shown(arguments)}: no such folder; --store names a folder of REE files, --state a state folder"
        ) from None


def _shown(arguments: Arguments) -> str:
    """The path of the folder of REE files."""
    return arguments.one("--store") or os.path.join(StateFolder(arguments.one("--state")).path, FILES)


def _require_store(folder: int, shown: str, new: bool) -> None:
    from tee.abi.ree_fs import DIRFILE

    if not new and DIRFILE not in os.listdir(folder):
        raise UsageError(f"{shown}: holds no trusted storage (no {DIRFILE})")


def _key_bytes(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_SIZE:
        raise UsageError(f"--huk takes {2 * KEY_SIZE} hexadecimal digits: a hardware unique key")
    return key


def parse_oid(text: str) -> bytes:
    """An object id as `show_oid` shows it."""
    if not text.startswith("hex:"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return bytes.fromhex(text[4:])
    except ValueError:
        raise UsageError(f"{text}: hex: takes hexadecimal digits") from None


def _key(words: Sequence[str]) -> Key:
    from tee.abi.storage import OBJECT_ID_MAX
    from tee.storage.dirfile import Key

    try:
        owner = UUID(words[0])
    except ValueError:
        raise UsageError(f"{words[0]} is no UUID of a TA") from None
    oid = parse_oid(words[1])
    if len(oid) > OBJECT_ID_MAX:
        raise UsageError(f"an object id has at most {OBJECT_ID_MAX} bytes")
    return Key(owner, oid)


def _row(found: Described) -> dict[str, Any]:
    row: dict[str, Any] = {
        "ta": str(found.key.owner),
        "id": show_oid(found.key.oid),
        "file": found.file,
        "type": found.type_name,
        "bits": found.bits,
        "usage": found.usage,
        "size": found.size,
    }
    if found.problem is not None:
        row["problem"] = found.problem.detail or str(found.problem)
    return row


def _lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        kind = row["type"] + (f"-{row['bits']}" if row["bits"] else "")
        end = f"  {row['problem']}" if "problem" in row else ""
        yield f"{row['ta']}  {row['size']:>9}  {kind:<16} {row['file']:>4}  {row['id']}{end}"


def _report(arguments: Arguments, rows: Sequence[dict[str, Any]], **more: object) -> None:
    if arguments.switch("--json"):
        from ta_loader.cli.output import print_json

        print_json({"objects": list(rows), **more})
    else:
        for line in _lines(rows):
            print(line)


def _ls(system: ReeFs, arguments: Arguments, words: Sequence[str]) -> int:
    from tee.storage.inspect import describe, entries

    rows = [_row(describe(system, entry)) for entry in entries(system)]
    _report(arguments, [row for row in rows if not words or row["ta"] == words[0].lower()])
    return exits.OK


def _get(system: ReeFs, arguments: Arguments, words: Sequence[str]) -> int:
    from tee.storage.inspect import data_stream

    data = data_stream(system, _key(words))
    place = words[2] if len(words) > 2 else STDOUT
    if place == STDOUT:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        replace(place, data)
    return exits.OK


def _put(system: ReeFs, arguments: Arguments, words: Sequence[str]) -> int:
    from tee.storage.inspect import put

    key = _key(words)
    if words[2] == "-":
        data = read_stdin("put")
    else:
        data = read_input(words[2], "put")
    put(system, key, data)
    return exits.OK


def _rm(system: ReeFs, arguments: Arguments, words: Sequence[str]) -> int:
    system.remove(_key(words))
    return exits.OK


def _check(system: ReeFs, arguments: Arguments, words: Sequence[str]) -> int:
    from tee.storage.inspect import check, strangers

    found = list(check(system))
    bad = [_row(row) for row in found if row.problem is not None]
    left = strangers(system)
    _report(arguments, bad, checked=len(found), strangers=left, recovered=system.recovered)
    if not arguments.switch("--json"):
        print(
            f"{len(found)} objects, {len(bad)} of them corrupt" + (f"; unnamed files: {', '.join(left)}" * bool(left))
        )
    return exits.TA_ERROR if bad else exits.OK


def _export(system: ReeFs, arguments: Arguments, words: Sequence[str]) -> int:
    """Data streams in DIR/<UUID of the TA>/<id in hexadecimal>, everything else in DIR/index.json."""
    import json

    from ta_loader.cli.failure import say
    from tee.storage.inspect import data_stream, describe, entries

    folder = words[0]
    os.makedirs(folder, mode=0o700, exist_ok=True)
    rows = []
    for entry in entries(system):
        found = describe(system, entry)
        row = _row(found)
        rows.append({**row, "max_bits": found.max_bits, "have": found.have, "attributes": found.attributes.hex()})
        if found.problem is not None:
            # It need not be the object's fault: the host may have failed to read it.
            say(f"{row['ta']} {row['id']}: {row['problem']}")
            continue
        place = os.path.join(folder, row["ta"])
        os.makedirs(place, mode=0o700, exist_ok=True)
        replace(os.path.join(place, entry.key.oid.hex() or "empty"), data_stream(system, entry.key))
    replace(os.path.join(folder, "index.json"), json.dumps({"objects": rows}, indent=1).encode())
    bad = sum("problem" in row for row in rows)
    print(f"{len(rows) - bad} objects exported to {folder}" + (f", {bad} could not be read" if bad else ""))
    return exits.TA_ERROR if bad else exits.OK


ACTIONS = {
    # name: what runs it, words it needs, words it may have, which of them is a path
    "ls": (_ls, 0, 1, 1),
    "get": (_get, 2, 3, 2),
    "put": (_put, 3, 3, 2),
    "rm": (_rm, 2, 2, 2),
    "check": (_check, 0, 0, 0),
    "export": (_export, 1, 1, 0),
}


def run(arguments: Arguments) -> int:
    name, *words = arguments.words
    if name not in ACTIONS:
        raise UsageError(f"storage does not know {name!r}; there are {', '.join(ACTIONS)}")
    action, least, most, place = ACTIONS[name]
    if not least <= len(words) <= most:
        raise UsageError(f"storage {name} takes {least if least == most else f'{least} to {most}'} words")
    if place < len(words):
        if not words[place]:
            raise UsageError(f"storage {name}: the name of the file or folder is empty")
        if name == "get" and words[place] != STDOUT:
            require_file(words[place], "get")
        elif name == "export":
            require_folder(words[place], "export")
    with open_store(arguments, new=name == "put", changes=name in ("put", "rm")) as system:
        try:
            return action(system, arguments, words)
        finally:
            if system.recovered:
                print(RECOVERED, file=sys.stderr)


EPILOG = """\
  ls [TA]                 every object: TA, bytes of data, type, file, id
  get TA ID [FILE]        an object's data, on standard output or in FILE
  put TA ID FILE          make a data object, or replace the one of that name; - is standard input
  rm TA ID                remove an object
  check                   read and authenticate every block; exit code 1 if anything is corrupt
  export DIR              everything decrypted: DIR/<TA>/<id in hexadecimal>, and DIR/index.json

ID is text, or hex:00ff. A daemon may be running meanwhile: it sees what changes here. With --store and --huk the store
of a board opens, whose REE files are tee-supplicant's folder (/var/lib/tee).

examples:
  litebox-ta storage ls
  litebox-ta storage get f4e750bb-1437-4fbf-8785-8d3580c34994 object#1 > object.bin
  litebox-ta storage check --store /mnt/board/var/lib/tee --huk 00000000000000000000000000000000"""

COMMAND = Command(
    name="storage",
    summary="Look into a store of trusted storage: list, read, write, remove and check objects.",
    words=("ACTION", "[WORD]..."),
    options=(
        STATE_OPTION,
        Option("--store", "DIR", "folder of REE files (default: tee in the state folder)"),
        Option("--huk", "HEX", "the device's hardware unique key (default: of the state folder)"),
        Option("--json", "", "print one JSON object (ls, check)"),
    ),
    run=run,
    epilog=EPILOG,
    choices=tuple(ACTIONS),
)
