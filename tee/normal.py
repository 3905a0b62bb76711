"""What the secure world asks of the normal world: the services of a supplicant.

`NormalWorld` has two makers: direct Python services on a Linux host (normal_world/supplicant), and
RPC over the message protocol where a real tee-supplicant answers. So each method is one RPC.
A service that is None is not there: callers answer NOT_SUPPORTED or STORAGE_NOT_AVAILABLE.
What comes back is as untrusted as any client's data. Methods raise `TeeError` alone.
Source: optee_os 4.5 core/include/optee_rpc_cmd.h; optee_client tee-supplicant.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID


class Files(Protocol):
    """REE files below one folder (OPTEE_RPC_FS_*). Names are relative, with `/` between parts.

    TeeError: ITEM_NOT_FOUND, ACCESS_CONFLICT (exists already), STORAGE_NO_SPACE, BAD_PARAMETERS
    for a name that leaves the folder, GENERIC for what else a host's file system says.
    """

    def open(self, name: str) -> int: ...

    def create(self, name: str) -> int:
        """Made anew, parents too; what was there is emptied (O_CREAT | O_TRUNC). The name is durable on return."""

    def close(self, file: int) -> None: ...

    def read(self, file: int, offset: int, size: int) -> bytes:
        """Shorter at the end of the file."""

    def write(self, file: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        """All of it, or TeeError."""

    def truncate(self, file: int, size: int) -> None: ...

    def sync(self, file: int) -> None:
        """Return when the file's data and size are on the medium."""

    def remove(self, name: str) -> None:
        """Also removes folders that this empties, as tee-supplicant does. A power cut may bring the file back."""

    def rename(self, old: str, new: str, *, overwrite: bool) -> None:
        """Atomic and durable on return: the folder is synced."""

    def list(self, name: str) -> Sequence[str]:
        """Names in a folder, without `.` and `..`."""


RESERVED = b"reserved\n"
"""All that is in a file which is there for its name alone."""


@runtime_checkable
class Reserving(Protocol):
    """Files whose names can be made before they are needed: many for one sync of the folder."""

    def reserve(self, names: Sequence[str]) -> None:
        """Unless the first of them is reserved, make them all so: files of `RESERVED` alone, their names durable.
        `create` need not sync the folder for those.
        """

    def release(self, name: str) -> None:
        """Empty a file whose name is durable, and leave the name reserved. ITEM_NOT_FOUND."""


class RpmbInfo(NamedTuple):
    """struct rpmb_dev_info of optee_os core/include/tee/tee_fs_rpmb... (OPTEE_RPC_RPMB_CMD_GET_DEV_INFO).

    cid: 16 bytes; size_mult: units of 128 KiB; reliable_sectors: 512-byte sectors of a reliable write.
    """

    cid: bytes
    size_mult: int
    reliable_sectors: int


class Rpmb(Protocol):
    """An eMMC's replay protected memory block, device `device` (JEDEC eMMC 5.1 §6.6.22)."""

    def info(self, device: int) -> RpmbInfo:
        """TeeError(ITEM_NOT_FOUND): no such device."""

    def request(self, device: int, frames: bytes, response_frames: int) -> bytes:
        """Whole 512-byte data frames in, `response_frames` of them back."""


class Sockets(Protocol):
    """TCP and UDP for GP's TEE Sockets API (OPTEE_RPC_SOCKET_*). owner: the TA's instance.

    TeeError: TEE_ISOCKET_ERROR_* as results; ACCESS_DENIED where the policy says no.
    """

    def open(self, owner: int, ip_version: int, protocol: int, server: str, port: int) -> int: ...

    def close(self, owner: int, handle: int) -> None: ...

    def close_all(self, owner: int) -> None: ...

    def send(self, owner: int, handle: int, data: bytes, timeout: float | None) -> int:
        """Bytes sent. timeout: seconds, None: for ever."""

    def receive(self, owner: int, handle: int, size: int, timeout: float | None) -> bytes: ...

    def ioctl(self, owner: int, handle: int, command: int, data: bytes) -> bytes: ...


PLUGIN_DATA_MAX = 4 << 20
"""Bytes of a plugin's data in one call: the largest piece of memory that Linux' driver allocates for an RPC
(alloc_pages_exact, 2^10 pages)."""


class PluginAnswer(NamedTuple):
    """result: the plugin's own TEEC_Result; length: the output length that it reports (size_t), however large."""

    result: int
    length: int


class Plugins(Protocol):
    """tee-supplicant plugins (OPTEE_RPC_SUPP_PLUGIN_INVOKE)."""

    def invoke(
        self, uuid: UUID, command: int, sub_command: int, data: bytearray, stop: Callable[[], bool]
    ) -> PluginAnswer:
        """Updates `data` in place, never its length; at most PLUGIN_DATA_MAX bytes. stop: asked now and then while
        the plugin runs, from the calling thread; true ends the wait.

        TeeError, when no plugin answered: ITEM_NOT_FOUND there is none, OUT_OF_MEMORY too much data, COMMUNICATION it
        died, BUSY others keep it busy, TIMEOUT it took too long, CANCEL stopped.
        """


class ProfileKind(enum.Enum):
    """What a profile is: the start of its file's name, as tee-supplicant has it."""

    GMON = "gmon-"
    FTRACE = "ftrace-"


class Profiles(Protocol):
    """Where profiles of TAs go (OPTEE_RPC_CMD_GPROF, OPTEE_RPC_CMD_FTRACE)."""

    def append(self, kind: ProfileKind, uuid: UUID, data: bytes, file: int) -> int:
        """Append to file number `file` of TA `uuid`, 0: a new one; the file's number.

        TeeError: NOT_SUPPORTED nobody takes profiles; BAD_PARAMETERS, STORAGE_NO_SPACE, GENERIC it cannot be written.
        """


class NormalWorld(Protocol):
    """Time is not here: `Clock.wall` of the platform is the normal world's."""

    @property
    def files(self) -> Files | None: ...

    @property
    def rpmb(self) -> Rpmb | None: ...

    @property
    def sockets(self) -> Sockets | None: ...

    @property
    def plugins(self) -> Plugins | None: ...
