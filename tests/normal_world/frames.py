"""Frames of the protocol, mutated."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from normal_world import protocol
from normal_world.protocol import Op
from south.platform import Arch
from ta_loader import samples
from tee.abi.results import Result
from tests.normal_world.kit import RawClient, memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

UUID_BYTES = samples.HELLO[Arch.AARCH64].bytes
_INCREMENT = (3, 0, 1, 0)


def seeds() -> list[bytes]:
    """One good frame of each kind, for session 1 and object 1; the commands do not loop."""
    params = (*_INCREMENT, 5, 1, 0, 16, 6, 1, 16, 64, 0, 0, 0, 0)
    bodies: list[tuple[Op, Sequence[object]]] = [
        (Op.HELLO, (bytes(16),)),
        (Op.OPEN_SESSION, (1, UUID_BYTES, 0, 0, *(0,) * 16)),
        (Op.INVOKE, (2, 1, 0, *_INCREMENT, *(0,) * 12)),
        (Op.INVOKE, (3, 1, 0, *params)),
        (Op.CLOSE_SESSION, (1, 0)),
        (Op.CANCEL, (2,)),
        (Op.REGISTER_SHM, (4096,)),
        (Op.RELEASE_SHM, (1, 0)),
        (Op.STATUS, (0, 0)),
    ]
    return [
        protocol.REQUESTS[op].pack(protocol.VERSION, op, protocol.REQUESTS[op].size, *words) for op, words in bodies
    ]


class Mutator:
    """Sends mutated frames, and looks at what comes back."""

    def __init__(self, path: str, random: Random) -> None:
        self._path = path
        self._random = random
        self._seeds = seeds()
        self._memory = memory(4096)
        self._client: RawClient | None = None
        self._fresh = True

    def step(self) -> None:
        self.send(self._mutated(), with_file=self._random.random() < 0.1)

    def send(self, frame: bytes, *, with_file: bool = False) -> None:
        """AssertionError unless the answer is a reply of the protocol, or a hang-up."""
        if self._client is None:
            self._client = RawClient(self._path)
            self._client.open(samples.HELLO[Arch.AARCH64])
            self._client.register(self._memory, 4096)
        client = self._client
        try:
            client.send_frame(frame or b"\0", [self._memory] if with_file else ())
            reply = client.receive()
        except (BrokenPipeError, ConnectionResetError):
            reply = None
        if reply is None:
            client.close()
            self._client = None
            return
        for fd in reply.fds:
            os.close(fd)
        assert reply.origin in (1, 2, 3, 4), frame.hex()
        assert not Result(reply.result).name.startswith("0x"), frame.hex()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        os.close(self._memory)

    def _mutated(self) -> bytes:
        random = self._random
        frame = bytearray(random.choice(self._seeds))
        for _ in range(random.choice((0, 1, 1, 2, 4))):
            # Seldom in the header: most of such frames say no more than that.
            at = random.randrange(len(frame)) if random.random() < 0.1 else random.randrange(8, len(frame))
            frame[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        if frame[2] == Op.INVOKE and frame[3] == 0 and len(frame) >= 24 and frame[20] not in (0, 1):
            frame[20:24] = bytes(4)  # commands that loop or panic are other tests'
        if random.random() < 0.05:
            del frame[random.randrange(len(frame)) :]
        elif random.random() < 0.02:
            frame += random.randbytes(random.randrange(1, protocol.FRAME_MAX))
        return bytes(frame)
