"""An emulated eMMC RPMB: what the device's firmware does with data frames (JEDEC eMMC 5.1 §6.6.22.4).

A model for development and tests. Its key and its write counter stand in a file that whoever may write it can set
back: it protects against nobody. docs/rpmb.md says more.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from normal_world.supplicant.rpmb_store import Geometry, RpmbStore, State, exists
from south.errors import UsageError
from tee.abi.results import BAD_PARAMETERS, GENERIC, ITEM_NOT_FOUND
from tee.abi.rpmb import (
    CID_SIZE,
    COUNTER_EXPIRED,
    COUNTER_MAX,
    FRAME_SIZE,
    SIZE_MULT_MAX,
    RpmbResult,
    RpmbType,
)
from tee.errors import TeeError
from tee.normal import RpmbInfo
from tee.storage.rpmb_frames import Frame, is_signed, parse, signed

if TYPE_CHECKING:
    from collections.abc import Sequence

RESPONSE_MAX = 0xFFFF
"""Frames; CMD23 counts blocks in 16 bits."""


def model_cid(serial: bytes) -> bytes:
    """A CID register (eMMC 5.1 §7.2) whose product name says what it is. serial: 4 bytes."""
    register = b"\x00\x01\x00" + b"EMULAT" + b"\x01" + serial + b"\x00"
    crc = 0
    for byte in register:
        for bit in range(7, -1, -1):
            crc = (crc << 1) & 0x7F ^ (0x09 if (crc >> 6 ^ byte >> bit) & 1 else 0)
    return register + bytes([crc << 1 | 1])


class EmulatedRpmb:
    """`tee.normal.Rpmb`: device 0 is a model with its state in the file `path`, made if it is not there.

    May be used by several threads; a second process gets a UsageError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size_mult: int = 1,
        cid: bytes | None = None,
        reliable_sectors: int = 1,
        within: int | None = None,
    ) -> None:
        """size_mult: units of 128 KiB, 1..128. cid: 16 bytes; None: what the file has, in a new one a serial number
        by chance. reliable_sectors: 512-byte sectors of a reliable write, 1..255. within: descriptor of the folder that
        the last part of `path` is a name in.

        UsageError: the file is in use, damaged, made with other values, or cannot be opened.
        """
        if not 1 <= size_mult <= SIZE_MULT_MAX or not 1 <= reliable_sectors <= 0xFF:
            raise UsageError(f"an RPMB of size_mult {size_mult} with reliable_sectors {reliable_sectors} cannot be")
        if cid is not None and len(cid) != CID_SIZE:
            raise UsageError(f"a CID has {CID_SIZE} bytes, not {len(cid)}")
        place = os.fspath(path)
        try:
            fresh = cid is None and not exists(place, within)
            wanted = Geometry(size_mult, reliable_sectors, model_cid(os.urandom(4)) if fresh else cid or b"")
            self._store = RpmbStore(place, wanted, within)
        except OSError as error:
            raise UsageError(f"{place}: {error.strerror or error}") from None
        self._lock = threading.Lock()
        self._last: Frame | None = None
        """What the result register holds: the response to the last key programming or write. Not kept."""

    def close(self) -> None:
        with self._lock:
            self._store.close()

    @property
    def state(self) -> State:
        """Key and write counter, which a real device never shows: for tests and for those who look after the model."""
        return self._store.state

    # --- tee.normal.Rpmb

    def info(self, device: int) -> RpmbInfo:
        self._require(device)
        geometry = self._store.geometry
        return RpmbInfo(geometry.cid, geometry.size_mult, geometry.reliable_sectors)

    def request(self, device: int, frames: bytes, response_frames: int) -> bytes:
        """One request with its response; after key programming and writes the result register is read at once.

        TeeError as from tee-supplicant: BAD_PARAMETERS for counts and mixes of frames that a host would never send,
        GENERIC for an unknown request. What the device itself refuses is in the response's result.
        """
        self._require(device)
        if len(frames) > RESPONSE_MAX * FRAME_SIZE:
            raise TeeError(BAD_PARAMETERS, f"{len(frames)} bytes of request")
        try:
            request = parse(frames)
        except ValueError as error:
            raise TeeError(BAD_PARAMETERS, str(error)) from None
        kind = request[0].kind
        if any(frame.kind != kind for frame in request):
            raise TeeError(BAD_PARAMETERS, "requests of several types")
        if kind != RpmbType.WRITE and len(request) != 1:
            raise TeeError(BAD_PARAMETERS, f"{len(request)} request frames")
        most = RESPONSE_MAX if kind == RpmbType.READ else 1
        if not 1 <= response_frames <= most:
            raise TeeError(BAD_PARAMETERS, f"{response_frames} response frames")
        with self._lock:
            if kind == RpmbType.READ:
                return self._read(request[0], response_frames)
            if kind == RpmbType.READ_COUNTER:
                return self._read_counter(request[0])
            if kind == RpmbType.PROGRAM_KEY:
                self._last = self._program_key(request[0])
            elif kind == RpmbType.WRITE:
                self._last = self._write(request)
            elif kind != RpmbType.READ_RESULT:
                raise TeeError(GENERIC, f"an RPMB request of type {kind:#06x}")
            return self._result()

    @staticmethod
    def _require(device: int) -> None:
        if device != 0:
            raise TeeError(ITEM_NOT_FOUND, f"no RPMB device {device}")

    # --- the device

    def _code(self, result: RpmbResult) -> int:
        return result | (COUNTER_EXPIRED if self._store.state.counter == COUNTER_MAX else 0)

    def _program_key(self, request: Frame) -> Frame:
        """§6.6.22.4.1. Once; the key can be neither read nor replaced."""
        result = RpmbResult.OK
        if self._store.state.key is not None:
            result = RpmbResult.GENERAL_FAILURE
        else:
            try:
                # Twice, so that both slots know the key: no damage to one slot can make the device blank again.
                self._store.commit(State(request.key_mac, 0))
                self._store.commit(State(request.key_mac, 0))
            except OSError:
                result = RpmbResult.WRITE_FAILURE
        return Frame(RpmbType.PROGRAM_KEY_RESPONSE, self._code(result))

    def _read_counter(self, request: Frame) -> bytes:
        """§6.6.22.4.2"""
        key, counter = self._store.state
        response = Frame(RpmbType.READ_COUNTER_RESPONSE, nonce=request.nonce)
        if key is None:
            return response._replace(result=RpmbResult.NO_KEY).pack()
        return signed(key, [response._replace(result=self._code(RpmbResult.OK), counter=counter)])

    def _write(self, request: Sequence[Frame]) -> Frame:
        """§6.6.22.4.3"""
        result = self._check_write(request)
        if result == RpmbResult.OK:
            key, counter = self._store.state
            try:
                self._store.commit(State(key, counter + 1), request[0].address, [frame.data for frame in request])
            except OSError:
                result = RpmbResult.WRITE_FAILURE
        return Frame(
            RpmbType.WRITE_RESPONSE, self._code(result), address=request[0].address, counter=self._store.state.counter
        )

    def _check_write(self, request: Sequence[Frame]) -> RpmbResult:
        """In the standard's order: key, counter expired, block count, address, MAC, counter.

        Every frame has the count, the address and the counter of the whole write; the MAC is in the last.
        """
        key, counter = self._store.state
        geometry, head = self._store.geometry, request[0]
        if key is None:
            return RpmbResult.NO_KEY
        if counter == COUNTER_MAX:
            return RpmbResult.WRITE_FAILURE
        if head.block_count != len(request) or len(request) > geometry.reliable_blocks:
            return RpmbResult.GENERAL_FAILURE
        if any(
            (f.block_count, f.address, f.counter) != (head.block_count, head.address, head.counter) for f in request
        ):
            return RpmbResult.GENERAL_FAILURE
        if head.address + len(request) > geometry.blocks:
            return RpmbResult.ADDRESS_FAILURE
        if not is_signed(key, request):
            return RpmbResult.AUTHENTICATION_FAILURE
        if head.counter != counter:
            return RpmbResult.COUNTER_FAILURE
        return RpmbResult.OK

    def _read(self, request: Frame, count: int) -> bytes:
        """§6.6.22.4.4. Every frame has the address and count of the whole read, the nonce and the result."""
        key = self._store.state.key
        result, blocks = RpmbResult.OK, []
        if key is None:
            result = RpmbResult.NO_KEY
        elif request.address + count > self._store.geometry.blocks:
            result = RpmbResult.ADDRESS_FAILURE
        else:
            try:
                blocks = self._store.read(request.address, count)
            except OSError:
                result = RpmbResult.READ_FAILURE
        head = Frame(RpmbType.READ_RESPONSE, self._code(result), count, request.address, nonce=request.nonce)
        response = [head._replace(data=data) for data in blocks] or [head] * count
        return b"".join(frame.pack() for frame in response) if key is None else signed(key, response)

    def _result(self) -> bytes:
        """§6.6.22.4.3 step 2: the result register; a MAC for writes alone."""
        last = self._last or Frame(0, RpmbResult.GENERAL_FAILURE)
        key = self._store.state.key
        return signed(key, [last]) if key is not None and last.kind == RpmbType.WRITE_RESPONSE else last.pack()
