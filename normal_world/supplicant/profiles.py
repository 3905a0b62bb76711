"""Profiles of TAs in a folder, named and numbered as tee-supplicant names them in /tmp.

Source: optee_client tee-supplicant/src/prof.c.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from south.descriptors import shut
from south.errors import UsageError
from tee.abi.results import BAD_PARAMETERS, GENERIC, STORAGE_NO_SPACE
from tee.errors import TeeError

if TYPE_CHECKING:
    from uuid import UUID

    from tee.normal import ProfileKind

MOST_FILES = 100
"""Of one TA and kind."""
MAX_FILE = 256 << 20
"""Bytes: a TA writes what it likes."""
_MODE = 0o644
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ProfileFolder:
    """`tee.normal.Profiles`: `gmon-<uuid>.out`, then `gmon-<uuid>.1.out`...; `ftrace-<uuid>.out` likewise.

    The folder is made if it is not there, and opened once: a daemon may open no other later. UsageError.
    """

    def __init__(self, folder: str) -> None:
        try:
            os.makedirs(folder, exist_ok=True)
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            raise UsageError(f"--profile-dir {folder}: {problem.strerror}") from None
        self._lock = threading.Lock()

    def append(self, kind: ProfileKind, uuid: UUID, data: bytes, file: int) -> int:
        if not 0 <= file <= MOST_FILES:
            raise TeeError(BAD_PARAMETERS, f"no profile has number {file}")
        with self._lock:
            try:
                return self._append(kind, uuid, data, file)
            except OSError as problem:
                result = STORAGE_NO_SPACE if problem.errno in _FULL else GENERIC
                raise TeeError(result, problem.strerror or str(problem)) from None

    def _append(self, kind: ProfileKind, uuid: UUID, data: bytes, file: int) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        new = not file
        if file:
            descriptor = os.open(_name(kind, uuid, file), flags, dir_fd=self._folder)
        else:
            file, descriptor = self._create(kind, uuid, flags | os.O_CREAT | os.O_EXCL)
        try:
            now = os.fstat(descriptor)
            if not stat.S_ISREG(now.st_mode) or now.st_nlink != 1:
                raise TeeError(GENERIC, "the profile is no plain file")
            if now.st_size + len(data) > MAX_FILE:
                raise TeeError(STORAGE_NO_SPACE, f"a profile of more than {MAX_FILE >> 20} MiB")
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            except OSError:
                # A reader of the file could make nothing of half a piece.
                os.ftruncate(descriptor, now.st_size)
                raise
        except (OSError, TeeError):
            if new:
                with suppress(OSError):
                    os.unlink(_name(kind, uuid, file), dir_fd=self._folder)
            shut(descriptor)
            raise
        os.close(descriptor)
        return file

    def _create(self, kind: ProfileKind, uuid: UUID, flags: int) -> tuple[int, int]:
        for file in range(1, MOST_FILES + 1):
            try:
                return file, os.open(_name(kind, uuid, file), flags, _MODE, dir_fd=self._folder)
            except FileExistsError:
                continue
        raise TeeError(GENERIC, f"{MOST_FILES} profiles of this TA are in the folder; remove some")

    def close(self) -> None:
        shut(self._folder)


def _name(kind: ProfileKind, uuid: UUID, file: int) -> str:
    return f"{kind.value}{uuid}{'' if file == 1 else f'.{file - 1}'}.out"
