"""The state folder and the key in it: what is not the user's alone is refused, with the remedy."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from south.linux_host.host import HostEntropy
from south.linux_host.root_of_trust import KEY_FILE, FileRootOfTrust, RootOfTrustError
from south.linux_host.state import SEALED, StateError, StateFolder, open_folder

if TYPE_CHECKING:
    from pathlib import Path

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make somebody else's files")
SOMEBODY = 12345


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


def opened(path: Path | str) -> None:
    os.close(open_folder(path))


def test_a_folder_of_ones_own(place: Path) -> None:
    opened(place)
    place.chmod(0o755)
    opened(place)
    opened(f"{place}/")


def test_it_is_made_with_those_above_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "a")
    os.close(open_folder(tmp_path / "a" / "b", make=True))
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_others_may_not_write_it(place: Path, mode: int) -> None:
    place.chmod(mode)
    with pytest.raises(StateError, match=f"mode {mode:04o}.*chmod go-w {place}"):
        opened(place)


@needs_root
def test_it_is_nobody_elses(place: Path) -> None:
    os.chown(place, SOMEBODY, -1)
    with pytest.raises(StateError, match=f"belongs to the user with uid {SOMEBODY}.*--state"):
        opened(place)


@pytest.mark.parametrize("slash", ["", "/"])
def test_it_is_no_link(place: Path, tmp_path: Path, slash: str) -> None:
    (tmp_path / "link").symlink_to(place)
    with pytest.raises(StateError, match=r"symbolic link.*name the folder itself"):
        opened(f"{tmp_path}/link{slash}")
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="is no folder"):
        opened(tmp_path / "file")


def test_it_is_opened_once(place: Path, tmp_path: Path) -> None:
    """Whatever its name stands for later."""
    state = StateFolder(str(place))
    root = FileRootOfTrust(state, HostEntropy())
    assert state.open() is not None
    place.rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    root.hardware_unique_key()
    os.close(state.folder("tee", make=True))
    assert {path.name for path in (tmp_path / "moved").iterdir()} == {KEY_FILE, "tee"}
    assert not list((tmp_path / "elsewhere").iterdir())


def test_folders_in_it_are_looked_at_as_well(place: Path, tmp_path: Path) -> None:
    state = StateFolder(str(place))
    with pytest.raises(FileNotFoundError, match="state/tee"):
        state.folder("tee")
    (place / "tee").symlink_to(tmp_path)
    with pytest.raises(StateError, match="state/tee is a symbolic link"):
        state.folder("tee", make=True)
    (place / "tee").unlink()
    (place / "tee").mkdir()
    (place / "tee").chmod(0o777)
    with pytest.raises(StateError, match="state/tee can be written"):
        state.folder("tee", make=True)


def test_without_a_folder_nothing_is_made(tmp_path: Path) -> None:
    state = StateFolder(str(tmp_path / "none"))
    assert state.open() is None
    assert not state.holds(KEY_FILE)
    with pytest.raises(FileNotFoundError, match="none"):
        state.folder("tee")
    assert not (tmp_path / "none").exists()


def test_descriptors_are_closed(place: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        state = StateFolder(str(place))
        FileRootOfTrust(state, HostEntropy()).hardware_unique_key()
        place.chmod(0o777)
        with pytest.raises(StateError):
            opened(place)
        place.chmod(0o700)
        state.close()
    assert len(os.listdir("/proc/self/fd")) == before


# --- the key


def test_a_key_is_made_once(place: Path) -> None:
    key = FileRootOfTrust(StateFolder(str(place)), HostEntropy()).hardware_unique_key()
    assert FileRootOfTrust(StateFolder(str(place)), HostEntropy()).hardware_unique_key() == key
    assert os.listdir(place) == [KEY_FILE]
    assert (place / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_no_new_key_is_made_beside_storage_of_another(place: Path) -> None:
    sealed = place / SEALED
    sealed.parent.mkdir()
    sealed.write_bytes(b"sealed")
    with pytest.raises(RootOfTrustError, match=r"hardware-unique-key is gone.*restore.*another folder"):
        FileRootOfTrust(StateFolder(str(place)), HostEntropy()).hardware_unique_key()
    assert not (place / KEY_FILE).exists()
    sealed.unlink()  # a folder without a store is no store
    FileRootOfTrust(StateFolder(str(place)), HostEntropy()).hardware_unique_key()


@pytest.mark.parametrize("bad", ["link", "open", "short", "folder"])
def test_a_key_that_is_not_the_users_alone(place: Path, tmp_path: Path, bad: str) -> None:
    path = place / KEY_FILE
    if bad == "link":
        (tmp_path / "key").write_bytes(bytes(16))
        path.symlink_to(tmp_path / "key")
    elif bad == "folder":
        path.mkdir()
    else:
        path.write_bytes(bytes(16 if bad == "open" else 3))
        path.chmod(0o644 if bad == "open" else 0o600)
    with pytest.raises(OSError, match=r"Too many levels|chmod 600|restore it|directory"):
        FileRootOfTrust(StateFolder(str(place)), HostEntropy()).hardware_unique_key()


def test_a_folder_that_cannot_be_made_names_the_option(tmp_path: Path) -> None:
    """/proc takes no folders, whoever asks."""
    with pytest.raises(StateError, match="--state names another folder") as caught:
        StateFolder("/proc/litebox/state").made()
    assert str(caught.value.filename).startswith("/proc/litebox")
    assert caught.value.errno == errno.ENOENT
    assert StateFolder("/proc/litebox/state").open() is None
