"""Root of trust of the Linux host: a key file. It protects against nothing but other users."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from south.descriptors import shut
from south.linux_host.host import HostEntropy
from south.linux_host.state import FILES, SEALED, StateError, StateFolder

if TYPE_CHECKING:
    from south.platform import Entropy

KEY_SIZE = 16  # HW_UNIQUE_KEY_LENGTH, optee_os core/include/kernel/tee_common_otp.h
KEY_FILE = "hardware-unique-key"


class RootOfTrustError(StateError):
    """The key file cannot be used; the message says why and what to do."""


class FileRootOfTrust:
    """A hardware unique key made on first use (mode 0600) in the state folder.

    None is made beside trusted storage that another key has sealed: that one is lost, and the storage with it, and
    whoever can still bring it back should hear of it first.
    """

    def __init__(self, state: StateFolder, entropy: Entropy) -> None:
        self._state = state
        self._entropy = entropy
        self._key: bytes | None = None

    def hardware_unique_key(self) -> bytes:
        """RootOfTrustError, StateError; OSError: of the host."""
        if self._key is None:
            self._key = self._read() or self._make()
        return self._key

    def check(self) -> None:
        """As `hardware_unique_key`, but makes none."""
        if self._state.open() is None:
            return
        with suppress(FileNotFoundError):
            os.close(self._state.folder(FILES))
        if self._read() is None:
            self._require_new()

    def device_id(self) -> bytes:
        """OP-TEE's default die id: "BEEF" repeated (tee_otp_get_die_id, tee_common_otp.c)."""
        return b"BEEF" * (KEY_SIZE // 4)

    def _path(self) -> str:
        return os.path.join(self._state.path, KEY_FILE)

    def _read(self) -> bytes | None:
        folder = self._state.open()
        if folder is None:
            return None
        from south.replacing import sweep  # a run that needs no key pays nothing for it

        sweep(folder, KEY_FILE)  # here, since a key is made but once, and two processes may have tried
        try:
            fd = os.open(KEY_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            return None
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or info.st_mode & 0o077 or info.st_uid != os.geteuid():
                raise RootOfTrustError(
                    f"{self._path()} must be a file of yours that nobody else can read: chmod 600, chown"
                )
            key = os.read(fd, KEY_SIZE + 1)
        finally:
            shut(fd)
        if len(key) != KEY_SIZE:
            raise RootOfTrustError(f"{self._path()} holds {len(key)} bytes, not {KEY_SIZE}: restore it from a copy")
        return key

    def _make(self) -> bytes:
        folder = self._state.made()
        self._require_new()
        from south.replacing import beside, rename_new

        with beside(folder, KEY_FILE, 0o600) as (fd, temporary):
            with os.fdopen(fd, "wb", closefd=False) as file:
                file.write(self._entropy.fill(KEY_SIZE))
            os.fsync(fd)
            # Never replaces a key that another process made first.
            with suppress(FileExistsError):
                rename_new(folder, temporary, folder, KEY_FILE)
        os.fsync(folder)
        key = self._read()
        if key is None:
            raise RootOfTrustError(f"{self._path()} vanished while it was made")
        return key

    def _require_new(self) -> None:
        if self._state.holds(SEALED) and not self._state.holds(KEY_FILE):
            raise lost_key(self._state, SEALED)


def require_usable(path: str) -> None:
    """Look at a state folder that the user named before anything is done with it; a missing one will be made.

    StateError: it is refused, what is in it is, or its key is; OSError.
    """
    state = StateFolder(path)
    try:
        FileRootOfTrust(state, HostEntropy()).check()
    finally:
        state.close()


def lost_key(state: StateFolder, sealed: str) -> RootOfTrustError:
    return RootOfTrustError(
        f"{os.path.join(state.path, KEY_FILE)} is gone, and nothing else opens {os.path.join(state.path, sealed)}: "
        "restore the key from a copy, or begin a new device in another folder (--state)"
    )
