"""OP-TEE's own test TA `crypt`, as Debian ships it: GP's API as the real libutee implements it.

Commands and their parameters: optee_test ta/crypt/include/ta_crypt.h. Its attribute lists are u32 count, then u32
identifier, u32 offset, u32 size of each; offsets count from the list's start.
"""

from __future__ import annotations

import struct
from uuid import UUID

from tee.abi.algorithms import OperationClass, operation_class
from tee.abi.results import MAC_INVALID, TARGET_DEAD
from tee.params import Kind, Value
from tests.vectors import driver
from tests.vectors.driver import SLACK, Operation, Refused, Setup, Ta, value_in, value_out

CRYPT = UUID("cb3e5ba0-adf1-11e0-998b-0002a5d5c51b")
"""TA_CRYPT_UUID."""

ALLOCATE_OPERATION = 5
FREE_OPERATION = 6
SET_OPERATION_KEY = 9
SET_OPERATION_KEY2 = 10
COPY_OPERATION = 11
DIGEST_UPDATE = 12
DIGEST_DO_FINAL = 13
CIPHER_INIT = 14
CIPHER_UPDATE = 15
CIPHER_DO_FINAL = 16
MAC_INIT = 17
MAC_UPDATE = 18
MAC_FINAL_COMPUTE = 19
MAC_FINAL_COMPARE = 20
ALLOCATE_TRANSIENT_OBJECT = 21
FREE_TRANSIENT_OBJECT = 22
POPULATE_TRANSIENT_OBJECT = 24
AE_INIT = 33
AE_UPDATE_AAD = 34
AE_UPDATE = 35
AE_ENCRYPT_FINAL = 36
AE_DECRYPT_FINAL = 37
DIGEST_EXTRACT = 80


class GpCrypt(Ta):
    libutee = True

    def start(self, setup: Setup) -> GpOperation:
        operation = GpOperation(self, setup)
        try:
            operation.init()
        except Refused as refusal:
            if refusal.result != TARGET_DEAD:
                operation.free()
            raise
        return operation

    def key(self, algorithm: int, key: bytes) -> int:
        handle = value_out()
        sizes = value_in(driver.key_type(algorithm), driver.key_bits(algorithm, key))
        self.must(ALLOCATE_TRANSIENT_OBJECT, sizes, handle)
        attributes = struct.pack("<4I", 1, driver.SECRET, 16, len(key)) + key
        self.must(POPULATE_TRANSIENT_OBJECT, value_in(handle.a), self.placed(attributes))
        return handle.a


class GpOperation(Operation):
    def __init__(self, ta: GpCrypt, setup: Setup, keyed: bool = True) -> None:
        """keyed: set the keys; a copy's destination gets them with the copy."""
        self.ta = ta
        self.setup = setup
        self.held = 0
        """Bytes given and not yet answered."""
        algorithm = setup.algorithm
        keys = [key for key in (setup.key1, setup.key2) if key] if driver.needs_key(algorithm) else []
        bits = sum(driver.key_bits(algorithm, key) for key in keys)
        handle = Value(Kind.VALUE_INOUT, 0, algorithm)
        objects = [ta.key(algorithm, key) for key in keys] if keyed else []
        ta.must(ALLOCATE_OPERATION, handle, value_in(setup.mode, bits))
        self.handle = handle.a
        if len(objects) == 2:
            ta.must(SET_OPERATION_KEY2, value_in(self.handle, objects[0]), value_in(objects[1]))
        elif objects:
            ta.must(SET_OPERATION_KEY, value_in(self.handle, objects[0]))
        for key in objects:
            ta.must(FREE_TRANSIENT_OBJECT, value_in(key))

    def init(self) -> None:
        ta, setup = self.ta, self.setup
        class_ = operation_class(setup.algorithm)
        if setup.ae is not None:
            ae = setup.ae
            ta.must(AE_INIT, value_in(self.handle, ae.tag), ta.placed(ae.nonce), value_in(ae.aad, ae.payload))
        elif class_ == OperationClass.CIPHER:
            ta.must(CIPHER_INIT, value_in(self.handle), ta.given(setup.iv or b""))
        elif class_ == OperationClass.MAC:
            ta.must(MAC_INIT, value_in(self.handle))

    def copy(self) -> GpOperation:
        twin = GpOperation(self.ta, self.setup, keyed=False)
        twin.held = self.held
        self.ta.must(COPY_OPERATION, value_in(twin.handle, self.handle))
        return twin

    def free(self) -> None:
        self.ta.must(FREE_OPERATION, value_in(self.handle))

    def absorb(self, data: bytes) -> bytes:
        command = MAC_UPDATE if operation_class(self.setup.algorithm) == OperationClass.MAC else DIGEST_UPDATE
        self.ta.must(command, value_in(self.handle), self.ta.given(data))
        return b""

    def digest(self, data: bytes, size: int) -> bytes:
        return self._last(DIGEST_DO_FINAL, data, size)

    def squeeze(self, size: int) -> bytes:
        out = self.ta.room(size)
        self.ta.must(DIGEST_EXTRACT, value_in(self.handle), out)
        return self.ta.taken(out)

    def mac(self, data: bytes, size: int) -> bytes:
        return self._last(MAC_FINAL_COMPUTE, data, size)

    def _last(self, command: int, data: bytes, size: int) -> bytes:
        out = self.ta.room(size)
        self.ta.must(command, value_in(self.handle), self.ta.given(data), out)
        return self.ta.taken(out)

    def compare(self, data: bytes, mac: bytes) -> bool:
        given = self.ta.given(data)
        result = self.ta.call(MAC_FINAL_COMPARE, value_in(self.handle), given, self.ta.placed(mac, 2))
        if result not in (0, MAC_INVALID):
            raise Refused(result)
        return result == 0

    def update(self, data: bytes, in_place: bool = False) -> bytes:
        return self._through(CIPHER_UPDATE, data, in_place)

    def finish(self, data: bytes, in_place: bool = False) -> bytes:
        return self._through(CIPHER_DO_FINAL, data, in_place)

    def aad(self, data: bytes) -> bytes:
        self.ta.must(AE_UPDATE_AAD, value_in(self.handle), self.ta.placed(data))
        return b""

    def ae_update(self, data: bytes, in_place: bool = False) -> bytes:
        """Never in place: libutee's TEE_AEUpdate refuses an output that overlaps one of the TA's input parameters."""
        return self._through(AE_UPDATE, data, False)

    def seal(self, data: bytes, tag_size: int) -> tuple[bytes, bytes]:
        ta = self.ta
        out, tag = ta.room(len(data) + SLACK), ta.room(tag_size, 2)
        ta.must(AE_ENCRYPT_FINAL, value_in(self.handle), ta.placed(data), out, tag)
        return ta.taken(out), ta.taken(tag)

    def open(self, data: bytes, tag: bytes) -> bytes:
        ta = self.ta
        out = ta.room(len(data) + SLACK)
        before = ta.taken(out)
        result = ta.call(AE_DECRYPT_FINAL, value_in(self.handle), ta.placed(data), out, ta.placed(tag, 2))
        if result:
            out.size = len(before)
            assert ta.taken(out) == before, "plaintext that is not authentic"
            raise Refused(result)
        return ta.taken(out)

    def _through(self, command: int, data: bytes, in_place: bool) -> bytes:
        """libutee writes what it held back before it reads the rest, so input and output overlap only if it holds
        nothing."""
        ta = self.ta
        size = len(data) + SLACK
        if in_place and not self.held:
            source, out = ta.over(data, size)
        else:
            source, out = ta.placed(data), ta.room(size)
        ta.must(command, value_in(self.handle), source, out)
        self.held += len(data) - out.size
        return ta.taken(out)
