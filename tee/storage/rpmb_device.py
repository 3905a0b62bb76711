"""The secure world's end of an RPMB: authenticated reads and writes of 256-byte blocks.

Whatever carries the frames may drop, change and repeat them; that is found out. A write whose answer does not
come is sent again with the same counter, so that it is made at most once.

Source: optee_os 4.5 core/tee/tee_rpmb_fs.c, "Lower interface to RPMB device"; JEDEC eMMC 5.1 §6.6.22.4.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.huk import HukSubkey
from tee.abi.rpmb import DATA_SIZE, KEY_MAC_SIZE, NONCE_SIZE, RESULT_MASK, SIZE_UNIT, RpmbResult, RpmbType
from tee.abi.rpmb_fs import CRC_OFFSET, PRV_OFFSET
from tee.crypto import oneshot
from tee.crypto.huk import huk_subkey
from tee.errors import TeeError
from tee.storage.rpmb_frames import Frame, is_signed, parse, signed

if TYPE_CHECKING:
    from south.platform import RootOfTrust
    from tee.normal import Rpmb

MAX_RETRIES = 10
"""RPMB_MAX_RETRIES."""
READ_MOST = 64
"""Blocks of one read; more are read in pieces."""


def rpmb_key(root: RootOfTrust, cid: bytes) -> bytes:
    """The authentication key of the device with that CID (`tee_rpmb_key_gen`)."""
    masked = bytearray(cid)
    masked[PRV_OFFSET] = masked[CRC_OFFSET] = 0
    return huk_subkey(root, HukSubkey.RPMB, bytes(masked), KEY_MAC_SIZE)


class RpmbDevice:
    """One device, found when this is made. blocks: how many it has, 256 bytes each.

    program_key: give a device without a key ours, once and for ever (CFG_RPMB_WRITE_KEY).
    TeeError: STORAGE_NOT_AVAILABLE without a key, or with somebody else's.
    """

    def __init__(self, rpmb: Rpmb, root: RootOfTrust, *, device: int = 0, program_key: bool) -> None:
        self._rpmb = rpmb
        self._device = device
        info = rpmb.info(device)
        self._key = rpmb_key(root, info.cid)
        self.blocks = info.size_mult * (SIZE_UNIT // DATA_SIZE)
        self._dead = False
        try:
            self._counter = self._read_counter(program_key)
        except TeeError as error:
            if error.result == results.SECURITY:
                raise TeeError(results.STORAGE_NOT_AVAILABLE, "the RPMB has another device's key") from None
            raise

    def read(self, block: int, count: int) -> bytes:
        """TeeError: SECURITY for a response that is not the device's, COMMUNICATION, GENERIC."""
        self._check(block, count)
        pieces = []
        for at in range(block, block + count, READ_MOST):
            pieces.append(self._read(at, min(READ_MOST, block + count - at)))
        return b"".join(pieces)

    def write(self, block: int, data: bytes) -> None:
        """Whole blocks; each is written or not as one. TeeError: COMMUNICATION if it cannot be told which, and from
        then on.
        """
        count = len(data) // DATA_SIZE
        self._check(block, count)
        for n in range(count):
            self._write(block + n, data[n * DATA_SIZE : (n + 1) * DATA_SIZE])

    def _check(self, block: int, count: int) -> None:
        if self._dead:
            raise TeeError(results.COMMUNICATION, "the RPMB has not answered: not tried again")
        if block < 0 or count < 0 or block + count > self.blocks:
            raise TeeError(results.GENERIC, f"{count} blocks from {block} on are not in the RPMB")

    def _ask(self, request: bytes, count: int, kind: RpmbType) -> list[Frame]:
        """The response's frames, of the right type and without an error; not authenticated yet."""
        try:
            frames = parse(self._rpmb.request(self._device, request, count))
        except ValueError:
            raise TeeError(results.GENERIC, "what the RPMB answered are no frames") from None
        last = frames[-1]
        if len(frames) != count or last.kind != kind:
            raise TeeError(results.GENERIC, "the RPMB answered something else")
        if last.result & RESULT_MASK == RpmbResult.NO_KEY:
            raise TeeError(results.ITEM_NOT_FOUND, "the RPMB has no key")
        if last.result & RESULT_MASK == RpmbResult.AUTHENTICATION_FAILURE:
            raise TeeError(results.SECURITY, "the RPMB does not know our key")
        if last.result & RESULT_MASK:
            raise TeeError(results.GENERIC, f"the RPMB failed with result {last.result:#x}")
        return frames

    def _authentic(self, frames: list[Frame], nonce: bytes | None = None) -> list[Frame]:
        if not is_signed(self._key, frames):
            raise TeeError(results.SECURITY, "an RPMB response with a wrong MAC")
        if nonce is not None and not hmac.compare_digest(frames[-1].nonce, nonce):
            raise TeeError(results.SECURITY, "an old RPMB response")
        return frames

    def _read_counter(self, program_key: bool) -> int:
        nonce = oneshot.random(NONCE_SIZE)
        request = Frame(RpmbType.READ_COUNTER, nonce=nonce).pack()
        try:
            answer = self._ask(request, 1, RpmbType.READ_COUNTER_RESPONSE)
        except TeeError as error:
            if error.result != results.ITEM_NOT_FOUND:
                raise
            if not program_key:
                raise TeeError(results.STORAGE_NOT_AVAILABLE, "the RPMB has no key yet") from None
            self._ask(Frame(RpmbType.PROGRAM_KEY, key_mac=self._key).pack(), 1, RpmbType.PROGRAM_KEY_RESPONSE)
            answer = self._ask(request, 1, RpmbType.READ_COUNTER_RESPONSE)
        return self._authentic(answer, nonce)[0].counter

    def _read(self, block: int, count: int) -> bytes:
        nonce = oneshot.random(NONCE_SIZE)
        request = Frame(RpmbType.READ, address=block, nonce=nonce).pack()
        frames = self._authentic(self._ask(request, count, RpmbType.READ_RESPONSE), nonce)
        if frames[-1].address != block:
            raise TeeError(results.SECURITY, "the RPMB read another address")
        return b"".join(frame.data for frame in frames)

    def _write(self, block: int, data: bytes) -> None:
        request = signed(
            self._key, [Frame(RpmbType.WRITE, block_count=1, address=block, counter=self._counter, data=data)]
        )
        for _ in range(MAX_RETRIES):
            try:
                (answer,) = self._authentic(self._ask(request, 1, RpmbType.WRITE_RESPONSE))
            except TeeError:
                continue
            if answer.address == block and answer.counter == self._counter + 1:
                self._counter += 1
                return
        self._dead = True
        raise TeeError(results.COMMUNICATION, "the RPMB does not confirm a write")
