"""An object's memory image at base 0, before anything is mapped: what tables are read from and relocations aim at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.platform import PAGE, Prot

from .checks import bad_format, page_up, panicked

if TYPE_CHECKING:
    from .checks import Segment


class Memory:
    """The segments by address. Addresses are the file's own (base 0)."""

    __slots__ = ("segments", "span", "text_writable")

    def __init__(self, segments: list[Segment], text_writable: bool = False) -> None:
        self.segments = segments
        last = segments[-1]
        self.span = page_up(last.vaddr + last.size)
        """Bytes from address 0 to the end of the last segment, a multiple of `PAGE`."""
        self.text_writable = text_writable
        """Legacy TAs are relocated before their segments are protected."""

    def bytes_at(self, vaddr: int, size: int, what: str) -> bytes:
        """File-backed bytes; TeeError(BAD_FORMAT) naming `what` if they are not all in one segment's file data."""
        for segment in self.segments:
            offset = vaddr - segment.vaddr
            if offset >= 0 and offset + size <= len(segment.data):
                return bytes(segment.data[offset : offset + size])
        raise bad_format(f"{what} out of range")

    def target(self, vaddr: int, size: int) -> tuple[int, int]:
        """(segment index, offset) of a relocation's target of `size` bytes; TeeError unless it may be written."""
        if vaddr + size > self.span:
            raise bad_format("relocation offset out of range")
        for index, segment in enumerate(self.segments):
            offset = vaddr - segment.vaddr
            if offset >= 0 and offset + size <= segment.size:
                if not (segment.prot & Prot.W or self.text_writable):
                    raise panicked(f"relocation of read-only memory at {vaddr:#x}")
                return index, offset
        raise panicked(f"relocation between segments at {vaddr:#x}")

    def writable(self, vaddr: int, size: int) -> bool:
        """Whether the mapped object may write all of it."""
        return any(
            segment.prot & Prot.W and segment.vaddr <= vaddr and vaddr + size <= segment.vaddr + segment.size
            for segment in self.segments
        )

    def file_offset_zero(self, offset: int, size: int, image: bytes) -> int | None:
        """Address of the file's first page, if the first segment begins with it; None otherwise."""
        first = self.segments[0]
        if offset + size <= min(len(first.data), PAGE) and bytes(first.data[: offset + size]) == image[: offset + size]:
            return first.vaddr
        return None
