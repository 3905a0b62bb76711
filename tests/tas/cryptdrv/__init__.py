"""cryptdrv: a TA that hands cryptographic system calls to tests one to one. Layouts: README.md here."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from south.platform import Arch

HERE = Path(__file__).parent

UUIDS = {
    Arch.AARCH64: UUID("8fcc1459-4fd8-4d67-8c41-8ae056ff9a56"),
    Arch.ARM: UUID("9462b8e7-56bd-480a-bf70-59473cf4ae87"),
}

CMD_RAW = 0x1000
"""Command that makes any system calls; see `raw`."""
RAW_POKE = 0xFFFFFFFF
RAW_PEEK = 0xFFFFFFFE
RAW_SIZE = 80
"""Bytes of one record."""
TEE_ATTR_FLAG_VALUE = 1 << 29


def path(arch: Arch) -> Path:
    """The signed TA (the samples' key), `<uuid>.ta`."""
    return HERE / f"{UUIDS[arch]}.ta"


def raw(number: int, *args: int, relocate: int = 0) -> bytes:
    """One record of `CMD_RAW`: up to eight words; bit i of relocate: args[i] counts from the second memref."""
    words = [a & (1 << 64) - 1 for a in (*args, *([0] * (8 - len(args))))]
    return b"".join(w.to_bytes(8, "little") for w in (number, *words)) + relocate.to_bytes(4, "little") + bytes(4)


def raw_result(records: bytes, index: int = 0) -> int:
    """The TEE_Result a record's call answered."""
    at = index * RAW_SIZE + 76
    return int.from_bytes(records[at : at + 4], "little")


def raw_word(records: bytes, word: int, index: int = 0) -> int:
    """args[word] of a record, as `RAW_PEEK` left it."""
    at = index * RAW_SIZE + 8 + 8 * word
    return int.from_bytes(records[at : at + 8], "little")


def attributes(*items: tuple[int, bytes] | tuple[int, int, int]) -> bytes:
    """Attribute list of populate and its kin: (id, bytes) for references, (id, a, b) for values."""
    out = b""
    for item in items:
        body = item[1] if len(item) == 2 else b"".join(v.to_bytes(4, "little") for v in item[1:])
        out += item[0].to_bytes(4, "little") + len(body).to_bytes(4, "little") + body + bytes(-len(body) % 4)
    return out
