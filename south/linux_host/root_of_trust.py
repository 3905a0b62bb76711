"""Root of trust of the Linux host: a key file. It protects against nothing but other users."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from south.platform import Entropy

KEY_SIZE = 16  # HW_UNIQUE_KEY_LENGTH, optee_os core/include/kernel/tee_common_otp.h
_KEY_FILE = "hardware-unique-key"


class RootOfTrustError(OSError):
    """The key file cannot be used; the message says why and what to do."""


def default_state_folder() -> str:
    """$XDG_STATE_HOME/litebox-ta, by default ~/.local/state/litebox-ta."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "litebox-ta")


class FileRootOfTrust:
    """A hardware unique key made on first use (mode 0600) in the state folder."""

    def __init__(self, folder: str, entropy: Entropy) -> None:
        self.folder = folder
        self._entropy = entropy
        self._key: bytes | None = None

    def hardware_unique_key(self) -> bytes:
        if self._key is None:
            self._key = self._read() or self._make()
        return self._key

    def device_id(self) -> bytes:
        """OP-TEE's default die id: "BEEF" repeated (tee_otp_get_die_id, tee_common_otp.c)."""
        return b"BEEF" * (KEY_SIZE // 4)

    def _path(self) -> str:
        return os.path.join(self.folder, _KEY_FILE)

    def _read(self) -> bytes | None:
        try:
            fd = os.open(self._path(), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or info.st_mode & 0o077 or info.st_uid != os.geteuid():
                raise RootOfTrustError(
                    f"{self._path()} must be a file of yours that nobody else can read: chmod 600, chown"
                )
            key = file.read(KEY_SIZE + 1)
        if len(key) != KEY_SIZE:
            raise RootOfTrustError(f"{self._path()} holds {len(key)} bytes, not {KEY_SIZE}: restore it from a copy")
        return key

    def _make(self) -> bytes:
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        temporary = f"{self._path()}.{os.getpid()}.{self._entropy.fill(4).hex()}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(self._entropy.fill(KEY_SIZE))
                file.flush()
                os.fsync(fd)
            try:
                os.link(temporary, self._path())  # never replaces a key that another process made first
            except FileExistsError:
                pass
        finally:
            os.unlink(temporary)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        key = self._read()
        if key is None:
            raise RootOfTrustError(f"{self._path()} vanished while it was made")
        return key
