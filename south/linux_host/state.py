"""The state folder: what lasts of a device, and is nobody else's.

Whoever may write the folder, or chose what a name in it stands for, chooses the device's key and which file a write
lands in. So it is opened once, looked at through that descriptor, and everything in it is reached from there.
"""

from __future__ import annotations

import errno
import os
import stat

from south.descriptors import shut

FILES = "tee"
"""Folder of REE files; tee-supplicant's is /var/lib/tee."""
SEALED = f"{FILES}/dirf.db"
"""What cannot be opened without the hardware unique key: the directory of trusted storage."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class StateError(OSError):
    """The state folder, or what is in it, cannot be used; the message says why and what to do."""


def default_state_folder() -> str:
    """$XDG_STATE_HOME/litebox-ta, by default ~/.local/state/litebox-ta."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "litebox-ta")


def open_folder(path: str | os.PathLike[str], *, within: int | None = None, make: bool = False, shown: str = "") -> int:
    """A descriptor of a folder that is the user's alone to change.

    within: descriptor of the folder that `path` is a name in. make: a missing one is made, with mode 0700, and without
    `within` those above it. shown: how messages call it.
    FileNotFoundError; StateError: a link, somebody else's, or writable by others; OSError: of the host.
    """
    place = os.fspath(path).rstrip("/") or "/"  # behind a slash, a link would be followed
    shown = shown or place
    if make:
        try:
            if within is None:
                os.makedirs(place, mode=0o700, exist_ok=True)
            else:
                os.mkdir(place, 0o700, dir_fd=within)
        except FileExistsError:
            pass
    try:
        fd = os.open(place, _FOLDER, dir_fd=within)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            error.filename = shown
            raise
        raise StateError(_no_folder(place, within, shown)) from None
    try:
        _require_own(os.fstat(fd), shown)
    except BaseException:
        shut(fd)
        raise
    return fd


def _no_folder(place: str, within: int | None, shown: str) -> str:
    try:
        link = stat.S_ISLNK(os.stat(place, dir_fd=within, follow_symlinks=False).st_mode)
    except OSError:
        link = False
    if link:
        return f"{shown} is a symbolic link, which may lead anywhere: name the folder itself, or remove the link"
    return f"{shown} is no folder: name another one, or remove it"


def _require_own(info: os.stat_result, shown: str) -> None:
    user = os.geteuid()
    if info.st_uid != user:
        raise StateError(
            f"{shown} belongs to the user with uid {info.st_uid}, who could change what this process does there as "
            f"uid {user}: run it as that user, or name a folder of your own (--state)"
        )
    if info.st_mode & _OTHERS_WRITE:
        raise StateError(
            f"{shown} can be written by other users (mode {stat.S_IMODE(info.st_mode):04o}): chmod go-w {shown}, if "
            "nobody has changed it"
        )


class StateFolder:
    """One device's folder, opened when it is first used."""

    def __init__(self, path: str | None = None) -> None:
        """path: None: the user's."""
        self.path = path or default_state_folder()
        self._fd = -1

    def open(self, *, make: bool = False) -> int | None:
        """Its descriptor, the same each time, which stays this object's; None: there is none, and it is not made.

        As of `open_folder`.
        """
        if self._fd < 0:
            try:
                self._fd = open_folder(self.path, make=make)
            except FileNotFoundError:
                if make:
                    raise
                return None
        return self._fd

    def made(self) -> int:
        """As `open`, made if there is none."""
        try:
            fd = self.open(make=True)
        except StateError:
            raise
        except OSError as error:
            why = f"{error.strerror}; the device's key and trusted storage lie there: --state names another folder"
            raise StateError(error.errno, why, error.filename or self.path) from None
        assert fd is not None
        return fd

    def folder(self, name: str, *, make: bool = False) -> int:
        """A descriptor of a folder in it, which is the caller's to close. As of `open_folder`."""
        within = self.open(make=make)
        if within is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        return open_folder(name, within=within, make=make, shown=os.path.join(self.path, name))

    def holds(self, name: str) -> bool:
        """Whether there is something of that name, whatever it is."""
        within = self.open()
        if within is None:
            return False
        try:
            os.stat(name, dir_fd=within, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            shut(fd)

    def __del__(self) -> None:
        self.close()
