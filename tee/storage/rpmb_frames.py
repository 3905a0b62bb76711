"""RPMB data frames as values, and their MAC (JEDEC eMMC 5.1 §6.6.22.2)."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, NamedTuple

from tee.abi.rpmb import DATA_SIZE, FRAME, FRAME_SIZE, KEY_MAC_SIZE, MAC_START, NONCE_SIZE, STUFF_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_STUFF = bytes(STUFF_SIZE)


class Frame(NamedTuple):
    """One 512-byte frame. key_mac: the key, a MAC, or zeros; kind: `RpmbType`, or whatever else a client sent."""

    kind: int
    result: int = 0
    block_count: int = 0
    address: int = 0
    counter: int = 0
    nonce: bytes = bytes(NONCE_SIZE)
    data: bytes = bytes(DATA_SIZE)
    key_mac: bytes = bytes(KEY_MAC_SIZE)

    def pack(self) -> bytes:
        return FRAME.pack(
            _NO_STUFF,
            self.key_mac,
            self.data,
            self.nonce,
            self.counter,
            self.address,
            self.block_count,
            self.result,
            self.kind,
        )


def parse(raw: bytes) -> list[Frame]:
    """raw: whole frames; ValueError for anything else. The stuff bytes mean nothing and are dropped."""
    if not raw or len(raw) % FRAME_SIZE:
        raise ValueError(f"{len(raw)} bytes are no whole frames")
    return [
        Frame(kind, result, block_count, address, counter, nonce, data, key_mac)
        for _, key_mac, data, nonce, counter, address, block_count, result, kind in FRAME.iter_unpack(raw)
    ]


def mac(key: bytes, frames: Sequence[bytes]) -> bytes:
    """HMAC-SHA256 over data..type of every packed frame in turn."""
    made = hmac.new(key, digestmod=hashlib.sha256)
    for frame in frames:
        made.update(frame[MAC_START:])
    return made.digest()


def signed(key: bytes, frames: Sequence[Frame]) -> bytes:
    """The frames as they go out, with the MAC in the last one."""
    raw = [frame.pack() for frame in frames]
    raw[-1] = frames[-1]._replace(key_mac=mac(key, raw)).pack()
    return b"".join(raw)


def is_signed(key: bytes, frames: Sequence[Frame]) -> bool:
    """Whether the last frame's MAC fits all of them; compared in constant time."""
    return hmac.compare_digest(mac(key, [frame.pack() for frame in frames]), frames[-1].key_mac)
