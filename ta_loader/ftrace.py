"""The buffer in which a TA built with CFG_FTRACE_SUPPORT records its calls: set up at load time, emptied after entries.

The functions of such a TA call `_mcount` at their start, which writes a record and puts `__ftrace_return` in the place
of the return address; that one writes another and returns where the caller waits. The buffer lies in the TA's own
memory, so all that is in it is the TA's word.

Source: optee_os 4.10 ldelf/ftrace.c, ldelf/main.c (`ftrace_dump`), lib/libutils/ext/ftrace/ftrace.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.errors import SpaceError
from tee.abi import profiles as abi
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from north.memory import AddressSpace

    from .link import LinkMap

_MAX_BUFFER = 256 << 20


class Ftrace:
    """`tee.ports.Trace`."""

    def __init__(self, links: LinkMap, start: int, size: int, trampoline: int) -> None:
        self._links = links
        self._start = start
        self._trampoline = trampoline
        main = links.modules[0]
        text = f"Function graph for TA: {main.uuid} @ {main.base:x}\n".encode()
        text += bytes(-(start + abi.FTRACE_BUF_SIZE + len(text)) % abi.RECORD) + abi.FTRACE_MAGIC
        self._text = text
        self._records = abi.FTRACE_BUF_SIZE + len(text)
        room = size - self._records
        self._slots = room // abi.RECORD
        head = bytearray(abi.FTRACE_BUF_SIZE)

        def put(offset: int, value: int, width: int) -> None:
            head[offset : offset + width] = value.to_bytes(width, "little")

        put(abi.RET_FUNC_PTR, trampoline, 8)
        put(abi.MAX_SIZE, room, 4)
        put(abi.HEAD_OFF, abi.FTRACE_BUF_SIZE, 4)
        put(abi.BUF_OFF, self._records, 4)
        links.space.write(start, head + text)

    def take(self, *, first: bool) -> bytes:
        """The records since the last time, oldest first, and before the first of them what they belong to."""
        space = self._links.space
        try:
            records = self._take(space)
        except SpaceError:
            return b""  # the TA gave away memory of its own
        if not records:
            return b""
        return ("".join(_mappings(self._links)).encode() + self._text if first else b"") + records

    def _take(self, space: AddressSpace) -> bytes:
        state = space.read(self._start + abi.CURR_IDX, abi.FTRACE_BUF_SIZE - abi.CURR_IDX)
        index = min(int.from_bytes(state[:4], "little"), self._slots)
        wrapped = state[abi.OVERFLOW - abi.CURR_IDX] or state[abi.OVERFLOW_OLD - abi.CURR_IDX]
        if not index and not wrapped:
            return b""
        at = self._start + self._records
        newest = space.read(at, index * abi.RECORD) if index else b""
        oldest = b""
        if wrapped and index < self._slots:
            oldest = space.read(at + index * abi.RECORD, (self._slots - index) * abi.RECORD)
        space.write(self._start + abi.CURR_IDX, bytes(4))
        space.write(self._start + abi.OVERFLOW_OLD, b"\0")
        space.write(self._start + abi.OVERFLOW, b"\0")
        return oldest + newest

    def returns(self) -> tuple[int, Sequence[int]]:
        """(`__ftrace_return`, the return addresses it stands for, innermost first)."""
        space = self._links.space
        try:
            depth = int.from_bytes(space.read(self._start + abi.RET_IDX, 4), "little")
            count = min(depth, abi.RETFUNC_DEPTH)
            raw = space.read(self._start + abi.RET_STACK, 8 * abi.RETFUNC_DEPTH)
        except SpaceError:
            return self._trampoline, ()
        stack = [int.from_bytes(raw[8 * i : 8 * i + 8], "little") for i in range(count)]
        return self._trampoline, stack[::-1]


def find(links: LinkMap) -> Ftrace | None:
    """The buffer of a program that is linked by now; None if it has none of use."""
    try:
        info = links.variable(abi.FTRACE_INFO_SYMBOL.encode(), abi.FTRACE_INFO.size)
    except TeeError:
        return None
    if info is None:
        return None
    start, end, trampoline = abi.FTRACE_INFO.unpack(links.space.read(info, abi.FTRACE_INFO.size))
    size = end - start
    if not abi.MIN_FTRACE_BUF_SIZE <= size <= _MAX_BUFFER or start % abi.RECORD or not links.writable(start, size):
        return None
    return Ftrace(links, start, size, trampoline)


def _mappings(links: LinkMap) -> list[str]:
    """As ldelf prints them (`ta_elf_print_mappings`), for scripts/symbolize.py; physical addresses are not known."""
    number = {module.uuid: i for i, module in enumerate(links.modules)}
    parts = sorted(
        ((module.base + segment.vaddr, segment, number[module.uuid]) for module in links.modules
         for segment in module.object.segments), key=lambda part: part[0]
    )  # fmt: skip
    lines = [
        f"region {i:2}: va {va:#010x} pa {(1 << 64) - 1:#x} size {segment.size:#08x} flags "
        f"{''.join(c if segment.prot & bit else '-' for c, bit in (('r', 1), ('w', 2), ('x', 4)))}s [{module}]\n"
        for i, (va, segment, module) in enumerate(parts)
    ]
    return lines + [f" [{i}] {module.uuid} @ {module.base:#010x}\n" for i, module in enumerate(links.modules)]
