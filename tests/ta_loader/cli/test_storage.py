"""`litebox-ta storage` on stores of this device and of a real one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from south.errors import UsageError
from ta_loader.cli.storage import COMMAND, parse_oid
from tee.errors import TeeError
from tee.storage.inspect import put
from tee.storage.oid import show_oid
from tests.tee.storage.kit import HUK, MemoryFiles, key, newest_damaged
from tests.tee.storage.kit import store as kit_store

if TYPE_CHECKING:
    from collections.abc import Callable

TA = "f4e750bb-1437-4fbf-8785-8d3580c34994"


@pytest.fixture
def run(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, bytes]]:
    (tmp_path / "state" / "tee").mkdir(parents=True)

    def call(*words: str) -> tuple[int, bytes]:
        code = COMMAND.main([*words, "--state", str(tmp_path / "state")])
        return code, capsysbinary.readouterr().out

    return call


def test_put_get_ls_rm(run: Callable[..., tuple[int, bytes]], tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"\0\1data" * 1000)
    assert run("put", TA, "one", str(source)) == (0, b"")
    assert run("put", TA, "hex:00ff", str(source))[0] == 0
    assert run("get", TA, "one") == (0, source.read_bytes())
    target.write_bytes(b"old")
    os.link(target, tmp_path / "kept")  # whoever has the old file keeps it whole
    assert run("get", TA, "hex:00ff", str(target)) == (0, b"")
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert target.read_bytes() == source.read_bytes()
    rows = json.loads(run("ls", "--json")[1])["objects"]
    assert [(row["ta"], row["id"], row["size"], row["type"]) for row in rows] == [
        (TA, "one", 6000, "DATA"),
        (TA, "hex:00ff", 6000, "DATA"),
    ]
    assert len(run("ls", TA)[1].splitlines()) == 2
    assert run("ls", TA.replace("f", "e"))[1] == b""
    assert run("rm", TA, "one")[0] == 0
    with pytest.raises(TeeError):
        run("get", TA, "one")


def test_check_and_export(run: Callable[..., tuple[int, bytes]], tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"x" * 9000)
    for name in ("good", "bad"):
        run("put", TA, name, str(source))
    assert run("check") == (0, b"2 objects, 0 of them corrupt\n")
    file = tmp_path / "state" / "tee" / "1"
    raw = bytearray(file.read_bytes())
    for at in range(4 * 4096, len(raw)):
        raw[at] ^= 1
    file.write_bytes(raw)
    (tmp_path / "state" / "tee" / "7").write_bytes(b"")
    code, text = run("check")
    assert code == 1
    assert b"bad" in text
    assert b"2 objects, 1 of them corrupt; unnamed files: 7" in text
    found = json.loads(run("check", "--json")[1])
    assert (found["checked"], found["strangers"], found["objects"][0]["id"]) == (2, ["7"], "bad")
    run("rm", TA, "bad")
    assert run("export", str(tmp_path / "dump"))[0] == 0
    os.link(tmp_path / "dump" / "index.json", tmp_path / "index")
    (tmp_path / "index").write_text("old")
    code, _ = run("export", str(tmp_path / "dump"))
    assert (tmp_path / "index").read_text() == "old"
    assert code == 0
    assert (tmp_path / "dump" / TA / b"good".hex()).read_bytes() == source.read_bytes()
    assert json.loads((tmp_path / "dump" / "index.json").read_text())["objects"][0]["size"] == 9000


def test_what_was_put_right_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = MemoryFiles()
    system = kit_store(files)
    put(system, key(b"a"), b"first")
    put(system, key(b"b"), b"second")
    for name, data in newest_damaged(files.survivors(keep=0)).items():
        (tmp_path / name).write_bytes(data)
    words = ("check", "--store", str(tmp_path), "--huk", HUK.hex())
    assert COMMAND.main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["recovered"] is True
    assert "was cut off while it was written" in said.err
    assert COMMAND.main([*words]) == 0
    assert capsys.readouterr().err == ""


def test_an_empty_folder_stays_empty(tmp_path: Path) -> None:
    for action in ("ls", "check", "export"):
        with pytest.raises(UsageError, match=r"no trusted storage \(no dirf\.db\)"):
            COMMAND.main([action, *["out"] * (action == "export"), "--store", str(tmp_path), "--huk", "00" * 16])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("burn",),
        ("get", TA),
        ("get", "me", "x"),
        ("get", TA, "x" * 65),
        ("get", TA, "hex:zz"),
        ("ls", "--huk", "00"),
        ("ls", "--store", "/nonexistent"),
    ],
)
def test_usage(run: Callable[..., tuple[int, bytes]], words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run(*words)


@pytest.mark.parametrize("oid", [b"", b"plain", b"with space", b"\0", "ä".encode(), b"hex:00"])
def test_object_ids_are_shown_so_that_they_can_be_typed(oid: bytes) -> None:
    assert parse_oid(show_oid(oid)) == oid


@pytest.mark.parametrize(("name", "told"), [("nope", "nope"), ("hex:00ff", "hex:00ff"), ("\udcff", "hex:ff")])
def test_an_object_that_is_not_there(run: Callable[..., tuple[int, bytes]], name: str, told: str) -> None:
    """Named as it is typed, whatever octets it has: not as Python writes bytes."""
    run("put", TA, "a", "/dev/null")
    for action in ("get", "rm"):
        with pytest.raises(TeeError, match=f"has no object {told}$"):
            run(action, TA, name)


def test_a_real_store(run: Callable[..., tuple[int, bytes]], tmp_path: Path) -> None:
    beside = Path(__file__).resolve().parents[4] / "shared"
    folder = Path(os.environ.get("LITEBOX_SHARED") or beside) / "optee-store" / "tee"
    if not (folder / "dirf.db").is_file():
        pytest.skip(f"no trusted storage of a real OP-TEE at {folder}; LITEBOX_SHARED names its parent")
    store = ("--store", str(folder), "--huk", "00" * 16)
    assert run("get", TA, "object#2", *store) == (0, b"This is data stored in the secure storage.\n\0")
    assert run("check", *store) == (0, b"3 objects, 0 of them corrupt\n")
