"""tests.tas.cryptdrv: the system calls themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi.algorithms import Algorithm, OperationClass, operation_class
from tee.abi.results import MAC_INVALID
from tee.syscalls.crypto import ROWS
from tests.tas import cryptdrv
from tests.vectors import driver
from tests.vectors.driver import FILL, STREAMS, Operation, Refused, Setup, Ta, value_in, value_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.params import Memref

_N = {row.name: row.number for row in ROWS}


class CryptDrv(Ta):
    libutee = False

    def granule(self, algorithm: int) -> int:
        if operation_class(algorithm) != OperationClass.CIPHER or algorithm in STREAMS:
            return 1
        return driver.block(algorithm)

    def hold(self, algorithm: int) -> int:
        """CTS and XTS: more than a block, as libutee would hold it back."""
        return 17 if algorithm in (Algorithm.AES_CTS, Algorithm.AES_XTS, Algorithm.SM4_XTS) else 0

    def start(self, setup: Setup) -> SystemCalls:
        operation = SystemCalls(self, setup)
        try:
            operation.init()
        except Refused:
            operation.free()
            raise
        return operation

    def key(self, algorithm: int, key: bytes) -> int:
        """A new key object."""
        handle = value_out()
        self.must(_N["cryp_obj_alloc"], value_in(driver.key_type(algorithm), driver.key_bits(algorithm, key)), handle)
        try:
            self.must(
                _N["cryp_obj_populate"], value_in(handle.a), self.placed(cryptdrv.attributes((driver.SECRET, key)))
            )
        except Refused:
            self.must(_N["cryp_obj_close"], value_in(handle.a))
            raise
        return handle.a


class SystemCalls(Operation):
    """Freeing a state closes its keys."""

    def __init__(self, ta: CryptDrv, setup: Setup) -> None:
        self.ta = ta
        self.setup = setup
        key1 = ta.key(setup.algorithm, setup.key1) if driver.needs_key(setup.algorithm) else 0
        key2 = ta.key(setup.algorithm, setup.key2) if setup.key2 else 0
        state = value_out()
        ta.must(_N["cryp_state_alloc"], value_in(setup.algorithm, setup.mode), value_in(key1, key2), state)
        self.state = state.a

    def init(self) -> None:
        ta, setup, state = self.ta, self.setup, self.state
        if setup.ae is not None:
            ae = setup.ae
            sizes = value_in(ae.aad, ae.payload)
            ta.must(_N["authenc_init"], value_in(state, ae.tag), ta.placed(ae.nonce), sizes)
        elif operation_class(setup.algorithm) == OperationClass.CIPHER:
            ta.must(_N["cipher_init"], value_in(state), ta.given(setup.iv or b""))
        else:
            ta.must(_N["hash_init"], value_in(state), ta.given(b""))

    def copy(self) -> SystemCalls:
        twin = SystemCalls(self.ta, self.setup)
        self.ta.must(_N["cryp_state_copy"], value_in(twin.state, self.state))
        return twin

    def free(self) -> None:
        self.ta.must(_N["cryp_state_free"], value_in(self.state))

    def absorb(self, data: bytes) -> bytes:
        self.ta.must(_N["hash_update"], value_in(self.state), self.ta.given(data))
        return b""

    def digest(self, data: bytes, size: int) -> bytes:
        out = self.ta.room(size)
        self.ta.must(_N["hash_final"], value_in(self.state), self.ta.given(data), out)
        return self.ta.taken(out)

    def squeeze(self, size: int) -> bytes:
        return self.digest(b"", size)

    mac = digest

    def compare(self, data: bytes, mac: bytes) -> bool:
        """There is no such system call: libutee compares."""
        return self.digest(data, 64) == mac

    def update(self, data: bytes, in_place: bool = False) -> bytes:
        return self._through("cipher_update", data, in_place)

    def finish(self, data: bytes, in_place: bool = False) -> bytes:
        return self._through("cipher_final", data, in_place)

    def aad(self, data: bytes) -> bytes:
        self.ta.must(_N["authenc_update_aad"], value_in(self.state), self.ta.placed(data))
        return b""

    def ae_update(self, data: bytes, in_place: bool = False) -> bytes:
        return self._through("authenc_update_payload", data, in_place)

    def seal(self, data: bytes, tag_size: int) -> tuple[bytes, bytes]:
        ta = self.ta
        out, tag = ta.room(len(data)), ta.room(tag_size, 2)
        ta.must(_N["authenc_enc_final"], value_in(self.state), ta.placed(data), out, tag)
        return ta.taken(out), ta.taken(tag)

    def open(self, data: bytes, tag: bytes) -> bytes:
        ta = self.ta
        out = ta.room(len(data))
        result = ta.call(_N["authenc_dec_final"], value_in(self.state), ta.placed(data), out, ta.placed(tag, 2))
        if result == MAC_INVALID:
            assert set(ta.taken(out)) <= {FILL}, "plaintext that is not authentic"
        if result:
            raise Refused(result)
        return ta.taken(out)

    def _through(self, name: str, data: bytes, in_place: bool) -> bytes:
        ta = self.ta
        pair: Callable[[], tuple[Memref, Memref]] = lambda: (ta.placed(data), ta.room(len(data)))  # noqa: E731
        source, out = ta.over(data, len(data)) if in_place else pair()
        ta.must(_N[name], value_in(self.state), source, out)
        assert out.size == len(data)
        return ta.taken(out)
