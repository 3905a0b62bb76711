"""Whoever can reach the state folder cannot have a command write somewhere else, or begin a device in its place."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from normal_world import Context
from normal_world.supplicant.files import ReeFiles
from normal_world.supplicant.rpmb import EmulatedRpmb
from normal_world.supplicant.services import ServiceOptions, Supplicant
from south.errors import UsageError
from south.linux_host.state import StateError
from south.platform import Arch
from south.replacing import SUFFIX
from ta_loader import samples
from ta_loader.cli import main
from tee.abi import results
from tee.errors import TeeError
from tests.normal_world.kit import LITEBOX_TA
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make somebody else's files")
SOMEBODY = 12345
TA = "f4e750bb-1437-4fbf-8785-8d3580c34994"
OPEN, PRIVATE, PRIVATE_RPMB, READ = 41, 1, 0x80000100, 1


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """With an object in its storage."""
    made = tmp_path / "state"
    (made / "tee").mkdir(parents=True)
    (tmp_path / "data").write_bytes(b"data")
    assert main(["storage", "put", TA, "a", str(tmp_path / "data"), "--state", str(made)]) == 0
    return made


def spoil(state: Path, tmp_path: Path, how: str) -> str:
    """Make the folder one that is refused; what a message has to say."""
    if how == "writable":
        state.chmod(0o777)
        return "chmod go-w"
    if how == "writable store":
        (state / "tee").chmod(0o777)
        return "chmod go-w"
    if how == "link":
        state.rename(tmp_path / "elsewhere")
        state.symlink_to(tmp_path / "elsewhere")
        return "symbolic link"
    if how == "linked store":
        (state / "tee").rename(tmp_path / "elsewhere")
        (state / "tee").symlink_to(tmp_path / "elsewhere")
        return "symbolic link"
    if how == "no key":
        (state / "hardware-unique-key").unlink()
        return "restore the key from a copy"
    os.chown(state, SOMEBODY, -1)
    return f"uid {SOMEBODY}"


HOWS = ["writable", "writable store", "link", "linked store", "no key", pytest.param("foreign", marks=needs_root)]
hows = pytest.mark.parametrize("how", HOWS)


def everything(folder: Path) -> dict[str, bytes]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@hows
@pytest.mark.parametrize("action", ["put", "rm", "ls", "get", "check", "export"])
def test_storage(state: Path, tmp_path: Path, how: str, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = spoil(state, tmp_path, how)
    before = everything(tmp_path)
    words = {
        "put": ["put", TA, "a", str(tmp_path / "data")],
        "rm": ["rm", TA, "a"],
        "get": ["get", TA, "a"],
        "export": ["export", str(tmp_path / "out")],
    }.get(action, [action])
    assert main(["storage", *words, "--state", str(state)]) == 2
    err = capsys.readouterr().err
    assert err.count(message) == 1, err
    after = {name: data for name, data in everything(tmp_path).items() if not name.startswith("out/")}
    assert after == before


@hows
@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
@pytest.mark.parametrize("named", [True, False])
def test_run(
    state: Path, tmp_path: Path, how: str, named: bool, quiet: tuple[str, ...],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    message = spoil(state, tmp_path, how)
    before = everything(tmp_path)
    records = b"".join(
        cryptdrv.raw(OPEN, storage, 0, 0, READ, 0x100, relocate=1 << 4) for storage in (PRIVATE, PRIVATE_RPMB)
    )
    if named:
        state_of = ["--state", str(state)]
    else:
        (tmp_path / "xdg").mkdir()
        state.rename(tmp_path / "xdg" / "litebox-ta")
        state_of = []
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
        before = everything(tmp_path)
    code = main(
        [
            *("run", str(cryptdrv.path(Arch.AARCH64)), "--trust", str(samples.public_key()), *state_of, *quiet),
            *("--invoke", hex(cryptdrv.CMD_RAW), f"inout:hex:{records.hex()}", "inout:512", "--out", "-"),
        ]
    )
    assert code == 2, "the highest versions seen are in this storage"
    err = capsys.readouterr().err
    assert err.count(message) == 1, err
    assert everything(tmp_path) == before


@hows
@pytest.mark.parametrize(
    "words", [["run", "hello"], ["demo"], ["verify", "hello"], ["with", "--", "true"], ["qemu-arm", "--kernel", "x"]]
)
def test_a_named_folder_is_refused_at_once(
    state: Path, tmp_path: Path, how: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where nothing would be stored."""
    message = spoil(state, tmp_path, how)
    before = everything(tmp_path)
    at = words.index("--") if "--" in words else len(words)
    assert main([*words[:at], "--state", str(state), *words[at:]]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count(message)) == ("", 1), said.err
    assert everything(tmp_path) == before


def test_a_folder_that_nobody_named_is_looked_at_when_it_is_needed(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state.rename(tmp_path / "litebox-ta")
    (tmp_path / "litebox-ta").chmod(0o777)
    assert main(["run", "hello", "--invoke", "0", "value:1"]) == 0


def test_a_ta_found_by_uuid_that_needs_a_refused_folder(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state.rename(tmp_path / "litebox-ta")
    (tmp_path / "litebox-ta").chmod(0o777)
    ta = cryptdrv.path(Arch.AARCH64)
    words = ["run", ta.stem, "--ta-dir", str(ta.parent), "--trust", str(samples.public_key())]
    assert main(words) == 2
    assert capsys.readouterr().err.count("chmod go-w") == 1
    assert main([*words, "--quiet"]) == 2
    assert capsys.readouterr().err.count("chmod go-w") == 1


@hows
def test_serve(state: Path, tmp_path: Path, how: str) -> None:
    message = spoil(state, tmp_path, how)
    before = everything(tmp_path)
    done = subprocess.run(
        [*LITEBOX_TA, "serve", "--socket", str(tmp_path / "s"), "--state", str(state)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert everything(tmp_path) == before


@hows
def test_the_python_client(state: Path, tmp_path: Path, how: str) -> None:
    message = spoil(state, tmp_path, how)
    before = everything(tmp_path)
    lines: list[str] = []
    with Context(state=state, log=lambda text: lines.append(str(text))) as tee:
        world = tee.way._world  # type: ignore[attr-defined]
        for storage_id in (PRIVATE, PRIVATE_RPMB):
            with pytest.raises(TeeError) as refused:
                world.storage.system(storage_id)
            assert refused.value.result == results.STORAGE_NOT_AVAILABLE
            if storage_id == PRIVATE or "store" not in how:
                assert message in refused.value.detail
            if "store" in how:
                break
    assert any(message in line for line in lines)
    assert everything(tmp_path) == before


# --- files with another name


@pytest.mark.parametrize("name", ["dirf.db", "0"])
def test_hard_links_in_a_store(state: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    os.link(state / "tee" / name, other)
    before = everything(tmp_path)
    (tmp_path / "data").write_bytes(b"other data")
    before["data"] = b"other data"
    first = ["rm", TA, "a"] if name == "dirf.db" else ["get", TA, "a"]
    assert main(["storage", *first, "--state", str(state)]) == 2
    assert f"{state / 'tee' / name} has another name (a hard link)" in capsys.readouterr().err
    assert everything(tmp_path) == before


@pytest.mark.parametrize("made", ["create", "open", "reserve", "release"])
def test_no_way_writes_through_a_hard_link(tmp_path: Path, made: str) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / "tee").mkdir()
    os.link(precious, tmp_path / "tee" / "1")
    files = ReeFiles(tmp_path / "tee")
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: files.create("1"),
        "open": lambda: files.open("1"),
        "reserve": lambda: files.reserve(["0", "1"]),
        "release": lambda: files.release("1"),
    }
    with pytest.raises(TeeError, match="hard link") as refused:
        calls[made]()
    assert refused.value.result == results.BAD_PARAMETERS
    assert precious.read_bytes() == b"precious"
    files.remove("1")
    files.close(files.create("1"))
    files.shut()


@pytest.mark.parametrize("what", ["hard link", "link", "open to others", "temporary"])
def test_the_rpmbs_file(tmp_path: Path, what: str) -> None:
    path, precious = tmp_path / "rpmb", tmp_path / "precious"
    EmulatedRpmb(path).close()
    if what == "hard link":
        os.link(path, precious)
    elif what == "link":
        path.rename(precious)
        path.symlink_to(precious)
    elif what == "open to others":
        path.chmod(0o666)
    else:
        path.unlink()
        precious.write_bytes(b"precious")
        left = tmp_path / f".rpmb.1{SUFFIX}"
        os.link(precious, left)
        os.utime(left, (0, 0))
        EmulatedRpmb(path).close()
        assert precious.read_bytes() == b"precious"
        return
    with pytest.raises(UsageError, match=r"symbolic link|hard link|chmod"):
        EmulatedRpmb(path)


# --- keys that are gone


def test_an_rpmb_of_a_lost_key_is_no_new_devices(tmp_path: Path) -> None:
    """A blank one is: the daemon makes it before any TA asks."""
    state = tmp_path / "state"
    first = Supplicant(ServiceOptions(state=str(state)))
    assert first.rpmb is not None
    first.close()
    with Context(state=state) as tee:
        tee.way._world.storage.system(PRIVATE_RPMB)  # type: ignore[attr-defined]
    (state / "hardware-unique-key").unlink()
    second = Supplicant(ServiceOptions(state=str(state)))
    with pytest.raises(TeeError, match="restore the key from a copy"):
        _ = second.rpmb
    second.close()


def test_a_daemon_begins_in_an_empty_folder_and_again_in_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        process = subprocess.Popen(
            [*LITEBOX_TA, "serve", "--socket", str(tmp_path / "s"), "--state", str(tmp_path / "state")],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "listening" in line:
                break
        process.terminate()
        assert process.wait(60) == 0, "".join(lines)
        process.stderr.close()
        assert {path.name for path in (tmp_path / "state").iterdir()} >= {"hardware-unique-key", "tee", "rpmb"}


@needs_root
def test_a_board_store_of_somebody_else_is_read_and_not_changed(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = (state / "hardware-unique-key").read_bytes().hex()
    os.chown(state / "tee", SOMEBODY, -1)
    words = ["--store", str(state / "tee"), "--huk", key]
    assert main(["storage", "ls", *words]) == 0
    assert TA in capsys.readouterr().out
    with pytest.raises(StateError):
        Supplicant(ServiceOptions(state=str(state)))._make_files()
    assert main(["storage", "rm", TA, "a", *words]) != 0
    assert f"uid {SOMEBODY}" in capsys.readouterr().err
    assert main(["storage", "ls", *words]) == 0
    assert TA in capsys.readouterr().out
