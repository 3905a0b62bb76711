"""Memory that the normal world shares by a cookie, and lists of pages that describe it.

Everything here is read from memory that the normal world may change meanwhile: each word is read once.
Source: optee_os 4.5 core/kernel/msg_param.c, core/mm/mobj.c (registered shared memory).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from north import pages
from south.platform import PAGE
from tee.abi.optee_msg import LIST_ENTRIES, LIST_PAGE, PAGE_LIST
from tee.abi.results import BAD_PARAMETERS, OUT_OF_MEMORY
from tee.errors import TeeError

if TYPE_CHECKING:
    from south.platform import NormalMemory, Pages

OBJECTS_MAX = 4096
"""Registered at once. OP-TEE has no limit but its heap; Linux registers a few for each client."""
BYTES_MAX = 1 << 30
"""Of all that is registered; a page may be registered any number of times."""
CONTIGUOUS_MAX = 64 << 20
"""Bytes of one contiguous piece that the normal world may name."""


def page_list(memory: NormalMemory, buffer: int, count: int) -> list[tuple[int, int]]:
    """`count` pages listed at physical address `buffer`, as (address, bytes) with neighbours joined. ValueError.

    At most as many list pages are read as `count` needs, whatever they say of a next one.
    """
    if buffer % LIST_PAGE:
        raise ValueError("a page list starts at a page")
    pieces: list[tuple[int, int]] = []
    expected = -1
    while count:
        words = PAGE_LIST.unpack(memory.read(buffer, LIST_PAGE))
        for address in words[: min(count, LIST_ENTRIES)]:
            if address % PAGE:
                raise ValueError("pages start at a page")
            if address == expected:
                pieces[-1] = (pieces[-1][0], pieces[-1][1] + PAGE)
            else:
                pieces.append((address, PAGE))
            expected = address + PAGE
        count -= min(count, LIST_ENTRIES)
        buffer = words[LIST_ENTRIES]
        if count and buffer % LIST_PAGE:
            raise ValueError("a page list goes on at a page")
    return pieces


class Shared:
    """A piece of the normal world's memory. pages: whole pages; `size` bytes of them from `offset` are shared.

    users: calls that use it; releasing: no new one may.
    """

    __slots__ = ("cookie", "offset", "pages", "releasing", "size", "users")

    def __init__(self, cookie: int, memory: Pages, offset: int, size: int) -> None:
        self.cookie = cookie
        self.pages = memory
        self.offset = offset
        self.size = size
        self.users = 0
        self.releasing = False

    def read(self, offset: int, size: int) -> bytes:
        """A copy. ValueError outside of it."""
        self._check(offset, size)
        return pages.read(self.pages, self.offset + offset, size)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """ValueError outside of it."""
        self._check(offset, len(data))
        pages.write(self.pages, self.offset + offset, data)

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ValueError(f"[{offset}, {offset + size}) is not inside {self.size} bytes")


def listed(memory: NormalMemory, buffer: int, size: int, cookie: int) -> Shared:
    """What a page list (`OPTEE_MSG_ATTR_NONCONTIG`) describes; the low 12 bits of `buffer` are the offset into the
    first page. TeeError(BAD_PARAMETERS).
    """
    offset = buffer % PAGE
    if not 0 <= size <= BYTES_MAX:
        raise TeeError(BAD_PARAMETERS, "too large")
    try:
        pieces = page_list(memory, buffer - offset, max(1, (size + offset + PAGE - 1) // PAGE))
        return Shared(cookie, memory.pages(pieces), offset, size)
    except ValueError as problem:
        raise TeeError(BAD_PARAMETERS, str(problem)) from None


def contiguous(memory: NormalMemory, address: int, size: int, cookie: int) -> Shared:
    """TeeError(BAD_PARAMETERS) unless it is the normal world's."""
    offset = address % PAGE
    if not 0 <= size <= CONTIGUOUS_MAX:
        raise TeeError(BAD_PARAMETERS, "too large")
    whole = max(PAGE, (offset + size + PAGE - 1) // PAGE * PAGE)
    try:
        return Shared(cookie, memory.pages([(address - offset, whole)]), offset, size)
    except ValueError as problem:
        raise TeeError(BAD_PARAMETERS, str(problem)) from None


class SharedMemory:
    """What is registered, by cookie. Thread-safe. dynamic: whether anything can be."""

    def __init__(self, memory: NormalMemory, *, dynamic: bool = True) -> None:
        self.memory = memory
        self.dynamic = dynamic
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._closed = False
        self._objects: dict[int, Shared] = {}
        self._bytes = 0

    def register(self, buffer: int, size: int, cookie: int) -> None:
        """TeeError(BAD_PARAMETERS, OUT_OF_MEMORY)."""
        if not cookie:
            raise TeeError(BAD_PARAMETERS, "no cookie")
        self.add(listed(self.memory, buffer, size, cookie))

    def add(self, shared: Shared) -> None:
        """TeeError(BAD_PARAMETERS) for a cookie that is taken, OUT_OF_MEMORY."""
        with self._lock:
            if shared.cookie in self._objects:
                raise TeeError(BAD_PARAMETERS, "the cookie is in use")
            if len(self._objects) >= OBJECTS_MAX or self._bytes + shared.pages.size > BYTES_MAX:
                raise TeeError(OUT_OF_MEMORY, "too much shared memory")
            self._objects[shared.cookie] = shared
            self._bytes += shared.pages.size

    def unregister(self, cookie: int) -> Shared:
        """Returns when no call uses it any more: its pages are the normal world's again. TeeError(BAD_PARAMETERS)."""
        with self._idle:
            shared = self._objects.get(cookie)
            if shared is None or shared.releasing:
                raise TeeError(BAD_PARAMETERS, "no such cookie")
            shared.releasing = True
            self._idle.wait_for(lambda: not shared.users or self._closed)
            self._objects.pop(cookie, None)
            self._bytes -= shared.pages.size
            return shared

    def close(self) -> None:
        """Nobody waits any more, and nothing is registered: the normal world has gone."""
        with self._idle:
            self._closed = True
            self._objects.clear()
            self._idle.notify_all()

    def use(self, cookie: int) -> Shared | None:
        """The object, kept until `leave`; None if there is none."""
        with self._lock:
            shared = self._objects.get(cookie)
            if shared is None or shared.releasing:
                return None
            shared.users += 1
            return shared

    def leave(self, shared: Shared) -> None:
        with self._lock:
            shared.users -= 1
            if shared.releasing and not shared.users:
                self._idle.notify_all()

    def __len__(self) -> int:
        return len(self._objects)
