"""What a test asks of a TA that runs cryptographic operations, whichever TA it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from tee.abi.algorithms import Algorithm, MainAlgorithm, Mode, OperationClass, main_algorithm, operation_class
from tee.abi.attributes import Attr
from tee.abi.objects import ObjectType
from tee.abi.results import SUCCESS, TARGET_DEAD, Result
from tee.params import Kind, Memref, Value

if TYPE_CHECKING:
    from uuid import UUID

    from tee.params import Param
    from tee.world import SecureWorld

ROOM = 64 << 10
"""Bytes of each buffer that a session shares with its TA."""
SLACK = 64
"""Bytes that an output is offered beyond the input's: libutee hands out what it has held back."""
FILL = 0xA5
"""What output buffers hold before a call."""

SECRET = Attr.SECRET_VALUE

_KEY_TYPES = {
    MainAlgorithm.AES: ObjectType.AES,
    MainAlgorithm.DES: ObjectType.DES,
    MainAlgorithm.DES3: ObjectType.DES3,
    MainAlgorithm.SM4: ObjectType.SM4,
}


class Refused(Exception):
    """A call answered an error, or its TA died of it (TARGET_DEAD)."""

    def __init__(self, result: Result) -> None:
        super().__init__(str(result))
        self.result = result


class AeInit(NamedTuple):
    """tag, aad, payload: sizes, bytes."""

    nonce: bytes
    tag: int
    aad: int
    payload: int


class Setup(NamedTuple):
    """What an operation starts from. iv: None for what takes none."""

    algorithm: int
    mode: Mode
    key1: bytes = b""
    key2: bytes = b""
    iv: bytes | None = None
    ae: AeInit | None = None


class Operation(ABC):
    """An operation that has been started. Methods raise `Refused`."""

    @abstractmethod
    def copy(self) -> Operation:
        """Another operation in the same state."""

    @abstractmethod
    def free(self) -> None: ...

    @abstractmethod
    def absorb(self, data: bytes) -> bytes:
        """Digests and MACs; answers nothing."""

    @abstractmethod
    def digest(self, data: bytes, size: int) -> bytes:
        """Last data; size: bytes, what the digest's size is expected to be."""

    @abstractmethod
    def squeeze(self, size: int) -> bytes:
        """The next bytes of an extendable-output function."""

    @abstractmethod
    def mac(self, data: bytes, size: int) -> bytes: ...

    @abstractmethod
    def compare(self, data: bytes, mac: bytes) -> bool:
        """Whether `mac` is right; ends the operation."""

    @abstractmethod
    def update(self, data: bytes, in_place: bool = False) -> bytes:
        """in_place: the output overwrites the input, if that is allowed now."""

    @abstractmethod
    def finish(self, data: bytes, in_place: bool = False) -> bytes: ...

    @abstractmethod
    def aad(self, data: bytes) -> bytes:
        """Answers nothing."""

    @abstractmethod
    def ae_update(self, data: bytes, in_place: bool = False) -> bytes: ...

    @abstractmethod
    def seal(self, data: bytes, tag_size: int) -> tuple[bytes, bytes]:
        """Rest of the cipher text, and the tag."""

    @abstractmethod
    def open(self, data: bytes, tag: bytes) -> bytes:
        """Rest of the plaintext. Refused(MAC_INVALID) leaves no plaintext in the buffer, which is asserted."""


class Ta(ABC):
    """A TA in a session of its own, opened again when it died."""

    libutee: bool
    """Whether GP's API is between the test and the system calls: it buffers, and panics on errors."""

    def __init__(self, world: SecureWorld, uuid: UUID, share: slice) -> None:
        """share: which vectors of a file of thousands are this TA's."""
        self.world = world
        self.share = share
        self.uuid = uuid
        self.pages = [world.platform.pages.shared(ROOM) for _ in range(3)]
        self._open()

    def _open(self) -> None:
        opened = self.world.open_session(self.uuid)
        assert opened.result == SUCCESS, opened
        self.session = opened.session

    def close(self) -> None:
        self.world.close_session(self.session)

    @abstractmethod
    def start(self, setup: Setup) -> Operation: ...

    def granule(self, algorithm: int) -> int:
        """Bytes that an update call's size must be a multiple of."""
        return 1

    def hold(self, algorithm: int) -> int:
        """Bytes that the final call must get at least, of a message that has as many."""
        return 0

    # --- calling

    def call(self, command: int, *params: Param) -> Result:
        result = self.world.invoke(self.session, command, params).result
        if result == TARGET_DEAD:
            self.world.close_session(self.session)
            self._open()
        return result

    def must(self, command: int, *params: Param) -> None:
        result = self.call(command, *params)
        if result != SUCCESS:
            raise Refused(result)

    def given(self, data: bytes, page: int = 0) -> Memref:
        """An input; NULL if there is nothing."""
        if not data:
            return Memref(Kind.MEMREF_INPUT, None, 0)
        return self.placed(data, page)

    def placed(self, data: bytes, page: int = 0, offset: int = 0) -> Memref:
        """An input that has an address even if it is empty."""
        self.pages[page].view(offset, len(data))[:] = data
        return Memref(Kind.MEMREF_INPUT, self.pages[page], len(data), offset)

    def room(self, size: int, page: int = 1) -> Memref:
        """An output, filled with a pattern."""
        self.pages[page].view(0, size)[:] = bytes([FILL]) * size
        return Memref(Kind.MEMREF_OUTPUT, self.pages[page], size)

    def over(self, data: bytes, size: int) -> tuple[Memref, Memref]:
        """An input, and an output of `size` that starts at the same address."""
        return self.placed(data), Memref(Kind.MEMREF_OUTPUT, self.pages[0], size)

    def taken(self, output: Memref) -> bytes:
        assert output.pages is not None
        return bytes(output.pages.view(output.offset, output.size))


def value_in(a: int = 0, b: int = 0) -> Value:
    return Value(Kind.VALUE_INPUT, a, b)


def value_out() -> Value:
    return Value(Kind.VALUE_OUTPUT)


def key_type(algorithm: int) -> ObjectType:
    main = main_algorithm(algorithm)
    known = _KEY_TYPES.get(MainAlgorithm(main))
    return known or ObjectType(0xA0000000 | main)  # TEE_TYPE_HMAC_* have the hashes' numbers


def key_bits(algorithm: int, key: bytes) -> int:
    """What TAs say for the size: GP 1.0 left DES's parity bits out."""
    if main_algorithm(algorithm) in (MainAlgorithm.DES, MainAlgorithm.DES3):
        return len(key) * 7
    return len(key) * 8


def needs_key(algorithm: int) -> bool:
    return operation_class(algorithm) != OperationClass.DIGEST


def block(algorithm: int) -> int:
    return 8 if main_algorithm(algorithm) in (MainAlgorithm.DES, MainAlgorithm.DES3) else 16


STREAMS = (Algorithm.AES_CTR, Algorithm.AES_GCM, Algorithm.AES_CCM)
"""Ciphers whose system calls take any size."""
