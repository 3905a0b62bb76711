"""Attestation PTA: signed digests of TAs, of what runs of them, and of this core.

Its key is made on first use and kept by the `KeyStore` that the composition root gives, in the form OP-TEE keeps it
in. Without one it lives as long as this secure world: whoever verifies signatures then asks for the public key anew.
What the key vouches for is worth as much as the host that holds it; `docs/ptas.md` says how much that is.
Source: optee_os core/pta/attestation.c.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.algorithms import Algorithm
from tee.abi.pta_attestation import DIGEST_SIZE, PTA_ATTESTATION_UUID, AttestationCommand
from tee.abi.uuids import TEE_UUID_SIZE, uuid_from_tee
from tee.crypto import oneshot
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.base import Sessionless
from tee.pta.kinds import buffer, expect, memref, value
from tee.pta.registry import PTA_DEFAULT_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from tee.pta.attestation_key import AttestationKey
    from tee.pta.base import Caller, Params
    from tee.pta.ports import KeyStore


class AttestationPta(Sessionless):
    """digest: SHA-256 that the signed header of a TA or library holds; TeeError(ITEM_NOT_FOUND) and the like."""

    uuid = PTA_ATTESTATION_UUID
    name = "attestation.pta"
    flags = PTA_DEFAULT_FLAGS

    def __init__(self, digest: Callable[[UUID], bytes], store: KeyStore | None = None) -> None:
        self._digest = digest
        self._store = store
        self._key: AttestationKey | None = None
        self._making = threading.Lock()

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        if command == AttestationCommand.GET_PUBKEY:
            self._public_key(params)
        elif command == AttestationCommand.GET_TA_SHDR_DIGEST:
            expect(params, Kind.MEMREF_INPUT, Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT)
            ref = memref(params, 0)
            if ref.size != TEE_UUID_SIZE:
                raise TeeError(results.BAD_PARAMETERS, "not the size of a TEE_UUID")
            self._attest(params, 1, lambda: self._digest(uuid_from_tee(ref.read())))
        elif command == AttestationCommand.HASH_TA_MEMORY:
            expect(params, Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT)
            self._attest(params, 0, lambda: hash_regions(_ta(caller).immutable()), lambda: _ta(caller))
        elif command == AttestationCommand.HASH_TEE_MEMORY:
            from tee.pta.measure import core_digest

            expect(params, Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT)
            self._attest(params, 0, core_digest)
        else:
            raise TeeError(results.BAD_PARAMETERS, f"the attestation PTA has no command {command}")

    def _public_key(self, params: Params) -> None:
        """memref[0]: exponent; memref[1]: modulus, both big-endian; value[2].a: algorithm of signatures."""
        expect(params, Kind.MEMREF_OUTPUT, Kind.MEMREF_OUTPUT, Kind.VALUE_OUTPUT)
        key = self.key()
        value(params, 2).a = Algorithm.RSASSA_PKCS1_PSS_MGF1_SHA256
        short = None
        for index, number in enumerate((key.exponent, key.modulus)):
            try:
                memref(params, index).put(number)
            except TeeError as error:
                short = error  # the other one is told all the same
        if short is not None:
            raise short

    def _attest(
        self, params: Params, first: int, measure: Callable[[], bytes], admit: Callable[[], object] | None = None
    ) -> None:
        """memref[first]: a nonce of the caller's; memref[first + 1]: the digest and SIG(SHA256(nonce | digest))."""
        nonce, out = buffer(params, first), memref(params, first + 1)
        if out.null and out.size:
            raise TeeError(results.BAD_PARAMETERS, "NULL with a size")
        if admit is not None:
            admit()
        key = self.key()
        room, needed = out.size, DIGEST_SIZE + len(key.modulus)
        out.size = needed
        if room < needed:
            raise TeeError(results.SHORT_BUFFER, "digest and signature do not fit")
        digest = measure()
        out.put(digest + key.sign(oneshot.digest("sha256", nonce.read(), digest)))

    def key(self) -> AttestationKey:
        """Loaded or made on first use."""
        with self._making:
            if self._key is None:
                from tee.pta.attestation_key import AttestationKey

                kept = self._store.load() if self._store is not None else None
                if kept is not None:
                    self._key = AttestationKey.parse(kept)
                else:
                    key = AttestationKey.generate()
                    if self._store is not None:
                        self._store.save(key.serialize())  # a key that cannot be kept must vouch for nothing
                    self._key = key
            return self._key


def _ta(caller: Caller | None) -> Caller:
    if caller is None:
        raise TeeError(results.ACCESS_DENIED, "only a TA can have its memory measured")
    return caller


def hash_regions(pieces: Iterable[bytes]) -> bytes:
    """SHA-256 over regions, small ones first and equally large ones by content: where they lie does not matter."""
    return oneshot.digest("sha256", *sorted(pieces, key=lambda piece: (len(piece), piece)))
