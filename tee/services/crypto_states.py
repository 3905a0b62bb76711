"""Operation states: digests, MACs, ciphers and authenticated encryption.

The states themselves are in C (`tee.crypto.task.Task`), which also answers most updates. Here is what
concerns keys and arguments: which key fits which algorithm, who owns it, what is checked in which
order. A state owns its keys: they are busy while it lives and are closed with it.

Source: optee_os core/tee/tee_svc_cryp.c, syscall_cryp_state_* to syscall_authenc_dec_final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.syscalls.declare import PIECE
from tee.abi import results
from tee.abi.algorithms import (
    COMPATIBLE,
    XOF,
    ChainMode,
    MainAlgorithm,
    Mode,
    OperationClass,
    chain_mode,
    main_algorithm,
    operation_class,
)
from tee.abi.algorithms import Algorithm as Alg
from tee.abi.objects import ObjectType
from tee.errors import TeeError
from tee.objects import State

if TYPE_CHECKING:
    from north.syscalls.declare import OutCell, Source
    from tee.crypto.task import StateInfo
    from tee.objects import Object
    from tee.services.context import CryptoTask
    from tee.syscalls.arguments import OutBuffer

MAX_DIGEST = 64
"""TEE_MAX_HASH_SIZE, bytes."""
MAX_TAG = 16
"""Of AES-GCM and AES-CCM, bytes."""
_LAST = 32
"""Bytes that the last piece of a message has at least if there are that many: CTS and XTS work on two blocks."""


_T = ObjectType
_M = MainAlgorithm
_KEY_TYPE: dict[int, ObjectType] = {
    _M.MD5: _T.HMAC_MD5,
    _M.SHA1: _T.HMAC_SHA1,
    _M.SHA224: _T.HMAC_SHA224,
    _M.SHA256: _T.HMAC_SHA256,
    _M.SHA384: _T.HMAC_SHA384,
    _M.SHA512: _T.HMAC_SHA512,
    _M.SHA3_224: _T.HMAC_SHA3_224,
    _M.SHA3_256: _T.HMAC_SHA3_256,
    _M.SHA3_384: _T.HMAC_SHA3_384,
    _M.SHA3_512: _T.HMAC_SHA3_512,
    _M.SM3: _T.HMAC_SM3,
    _M.AES: _T.AES,
    _M.DES: _T.DES,
    _M.DES3: _T.DES3,
    _M.SM4: _T.SM4,
    _M.RSA: _T.RSA_KEYPAIR,
    _M.DSA: _T.DSA_KEYPAIR,
    _M.DH: _T.DH_KEYPAIR,
    _M.ECDSA: _T.ECDSA_KEYPAIR,
    _M.ECDH: _T.ECDH_KEYPAIR,
    _M.ED25519: _T.ED25519_KEYPAIR,
    _M.SM2_PKE: _T.SM2_PKE_KEYPAIR,
    _M.SM2_DSA_SM3: _T.SM2_DSA_KEYPAIR,
    _M.SM2_KEP: _T.SM2_KEP_KEYPAIR,
    _M.HKDF: _T.HKDF_IKM,
    _M.CONCAT_KDF: _T.CONCAT_KDF_Z,
    _M.PBKDF2: _T.PBKDF2_PASSWORD,
    _M.X25519: _T.X25519_KEYPAIR,
    _M.X448: _T.X448_KEYPAIR,
}
"""The key an algorithm takes (tee_svc_cryp_check_key_type)."""

_PUBLIC_ALSO: dict[tuple[int, int], ObjectType] = {
    (_M.RSA, Mode.ENCRYPT): _T.RSA_PUBLIC_KEY,
    (_M.RSA, Mode.VERIFY): _T.RSA_PUBLIC_KEY,
    (_M.DSA, Mode.ENCRYPT): _T.DSA_PUBLIC_KEY,
    (_M.DSA, Mode.VERIFY): _T.DSA_PUBLIC_KEY,
    (_M.ECDSA, Mode.VERIFY): _T.ECDSA_PUBLIC_KEY,
    (_M.ED25519, Mode.VERIFY): _T.ED25519_PUBLIC_KEY,
}
"""Modes for which the public key does as well as the pair."""

_PUBLIC_ONLY: dict[tuple[int, int], ObjectType] = {
    (_M.SM2_PKE, Mode.ENCRYPT): _T.SM2_PKE_PUBLIC_KEY,
    (_M.SM2_DSA_SM3, Mode.VERIFY): _T.SM2_DSA_PUBLIC_KEY,
}
"""Modes for which OP-TEE takes the public key alone."""


def key_types(algo: int, mode: int) -> frozenset[int]:
    """Object types that fit an algorithm and mode; empty for an algorithm without keys."""
    main = main_algorithm(algo)
    if main not in _KEY_TYPE:
        return frozenset()
    if (main, mode) in _PUBLIC_ONLY:
        return frozenset({_PUBLIC_ONLY[main, mode]})
    if main == _M.SM2_KEP:
        return frozenset({_T.SM2_KEP_KEYPAIR, _T.SM2_KEP_PUBLIC_KEY})
    also = _PUBLIC_ALSO.get((main, mode))
    return frozenset({_KEY_TYPE[main]} if also is None else {_KEY_TYPE[main], also})


def _two_keys(algo: int, class_: int) -> bool:
    if class_ == OperationClass.CIPHER:
        return chain_mode(algo) == ChainMode.XTS
    return algo == Alg.SM2_KEP


def _key_for(task: CryptoTask, handle: int, algo: int, mode: int) -> Object | None:
    if not handle:
        return None
    obj = task.objects.get(handle)
    if obj.busy:
        raise TeeError(results.BAD_PARAMETERS, "the key is another operation's")
    if obj.type not in key_types(algo, mode):
        raise TeeError(results.BAD_PARAMETERS, f"a key of type {obj.type:#x} does not fit algorithm {algo:#x}")
    return obj


def cryp_state_alloc(task: CryptoTask, algo: int, mode: int, key1: int, key2: int, state: OutCell) -> None:
    algo, mode = algo & 0xFFFFFFFF, mode & 0xFFFFFFFF
    algo = COMPATIBLE.get(algo, algo)
    first = _key_for(task, key1, algo, mode)
    second = _key_for(task, key2, algo, mode)
    class_ = operation_class(algo)
    if class_ not in OperationClass.__members__.values():
        raise TeeError(results.NOT_SUPPORTED, f"no algorithm {algo:#x}")
    wants = (False, False) if class_ == OperationClass.DIGEST else (True, _two_keys(algo, class_))
    if (first is not None, second is not None) != wants:
        raise TeeError(results.BAD_PARAMETERS, f"algorithm {algo:#x} takes {sum(wants)} keys")
    operations = task.objects.operations
    operations.charge(algo)
    try:
        handle = task.native.state_alloc(algo, mode)
        try:
            state.put(handle)
        except TeeError:
            task.native.state_free(handle)
            raise
    except TeeError:
        operations.credit(algo)
        raise
    operations.add(handle, State(algo, mode, key1, key2))
    for obj in (first, second):
        if obj is not None:
            obj.busy = True


def cryp_state_copy(task: CryptoTask, dst: int, src: int) -> None:
    into, source = task.objects.operations.get(dst), task.objects.operations.get(src)
    if (into.algo, into.mode) != (source.algo, source.mode):
        raise TeeError(results.BAD_PARAMETERS, "states of different operations")
    if operation_class(source.algo) not in (
        OperationClass.CIPHER,
        OperationClass.AE,
        OperationClass.DIGEST,
        OperationClass.MAC,
    ):
        raise TeeError(results.BAD_STATE, "nothing to copy in an asymmetric or derivation state")
    task.native.state_copy(dst, src)


def cryp_state_free(task: CryptoTask, state: int) -> None:
    record = task.objects.operations.remove(state)
    task.native.state_free(state)
    for key in (record.key1, record.key2):
        if key:
            task.objects.remove(key)


def state_key(task: CryptoTask, handle: int) -> Object:
    """A key of a state, which must hold one: BAD_STATE; and be populated: BAD_PARAMETERS."""
    obj = task.objects.get(handle)
    if not obj.initialized:
        raise TeeError(results.BAD_PARAMETERS, "the operation's key is not set")
    return obj


# --- digests and MACs ------------------------------------------------------------------------


def hash_init(task: CryptoTask, state: int, iv: int, iv_len: int) -> None:
    """iv is ignored, as OP-TEE ignores it; it need not even be an address."""
    record = task.objects.operations.get(state)
    class_ = operation_class(record.algo)
    if class_ == OperationClass.DIGEST:
        task.native.hash_init(state)
    elif class_ == OperationClass.MAC:
        task.native.hash_init(state, state_key(task, record.key1).key)
    else:
        raise TeeError(results.BAD_PARAMETERS, "neither a digest nor a MAC")


def _active(task: CryptoTask, state: int) -> StateInfo:
    info = task.native.state_info(state)
    if not info.initialised:
        raise TeeError(results.BAD_STATE, "the operation is not initialised")
    return info


def hash_update(task: CryptoTask, state: int, chunk: Source) -> None:
    if not chunk:
        return
    _require_hash(_active(task, state))
    for _, piece in chunk.pieces():
        task.native.hash_update(state, piece)


def hash_final(task: CryptoTask, state: int, chunk: Source, hash_: OutBuffer) -> None:
    info = _active(task, state)
    _require_hash(info)
    if info.algo not in XOF:
        hash_.need(info.digest_size)
    for _, piece in chunk.pieces():
        task.native.hash_update(state, piece)
    if info.algo in XOF:
        # OP-TEE leaves the length word alone: every byte the caller offered is filled.
        for at in range(0, hash_.capacity or 1, PIECE):
            hash_.put_at(at, task.native.hash_final(state, room=min(PIECE, hash_.capacity - at)))
        return
    hash_.put(task.native.hash_final(state, room=MAX_DIGEST))


def _require_hash(info: StateInfo) -> None:
    if operation_class(info.algo) not in (OperationClass.DIGEST, OperationClass.MAC):
        raise TeeError(results.BAD_PARAMETERS, "neither a digest nor a MAC")


# --- ciphers ---------------------------------------------------------------------------------


def cipher_init(task: CryptoTask, state: int, iv: bytes) -> None:
    record = task.objects.operations.get(state)
    if operation_class(record.algo) != OperationClass.CIPHER:
        raise TeeError(results.BAD_STATE, "not a cipher")
    key1 = state_key(task, record.key1).key
    key2 = state_key(task, record.key2).key if record.key2 else b""
    task.native.cipher_init(state, key1, key2, iv)


def cipher_update(task: CryptoTask, state: int, src: Source, dst: OutBuffer) -> None:
    _cipher(task, state, src, dst, last=False)


def cipher_final(task: CryptoTask, state: int, src: Source, dst: OutBuffer) -> None:
    _cipher(task, state, src, dst, last=True)


def _before_last(src: Source) -> int:
    """Where the last piece begins: whole pieces are before it, and more than two blocks in it if there are any."""
    return max(0, (len(src) - _LAST) // PIECE * PIECE)


def _cipher(task: CryptoTask, state: int, src: Source, dst: OutBuffer, *, last: bool) -> None:
    info = _active(task, state)
    dst.need(len(src))
    if operation_class(info.algo) != OperationClass.CIPHER:
        raise TeeError(results.BAD_PARAMETERS, "not a cipher")
    end = _before_last(src) if last else len(src)
    for at, piece in src.pieces(0, end):
        dst.put_at(at, task.native.cipher_update(state, piece))
    if last:
        dst.put_at(end, task.native.cipher_final(state, src[end:]))
    dst.report(len(src))


# --- authenticated encryption ----------------------------------------------------------------


def authenc_init(task: CryptoTask, state: int, nonce: bytes, tag_len: int, aad_len: int, payload_len: int) -> None:
    """tag_len, aad_len, payload_len: bytes."""
    record = task.objects.operations.get(state)
    key = state_key(task, record.key1).key
    if operation_class(record.algo) != OperationClass.AE:
        raise TeeError(results.BAD_STATE, "not authenticated encryption")
    task.native.ae_init(state, key, nonce, tag_len, aad_len, payload_len)


def _active_ae(task: CryptoTask, state: int, mode: Mode | None = None) -> StateInfo:
    info = _active(task, state)
    if mode is not None and info.mode != mode:
        raise TeeError(results.BAD_PARAMETERS, f"not in mode {mode.name}")
    if operation_class(info.algo) != OperationClass.AE:
        raise TeeError(results.BAD_STATE, "not authenticated encryption")
    return info


def authenc_update_aad(task: CryptoTask, state: int, aad: Source) -> None:
    _active_ae(task, state)
    for _, piece in aad.pieces():
        task.native.ae_update_aad(state, piece)
    if not aad:
        task.native.ae_update_aad(state, b"")


def authenc_update_payload(task: CryptoTask, state: int, src: Source, dst: OutBuffer) -> None:
    _active_ae(task, state)
    dst.need(len(src))
    for at, piece in src.pieces():
        dst.put_at(at, task.native.ae_update(state, piece))
    if not src:
        task.native.ae_update(state, b"")
    dst.report(len(src))


def authenc_enc_final(task: CryptoTask, state: int, src: Source, dst: OutBuffer, tag: OutBuffer) -> None:
    info = _active_ae(task, state, Mode.ENCRYPT)
    dst.need(len(src))
    if tag.capacity < info.tag_size:
        dst.report(len(src))
        tag.need(info.tag_size)
    end = _before_last(src)
    for at, piece in src.pieces(0, end):
        dst.put_at(at, task.native.ae_update(state, piece))
    out, made = task.native.ae_enc_final(state, src[end:], MAX_TAG)
    dst.put_at(end, out)
    dst.report(len(src))
    tag.put(made)


def authenc_dec_final(task: CryptoTask, state: int, src: Source, dst: OutBuffer, tag: bytes) -> None:
    """Nothing is left of the plaintext when the tag is wrong; OP-TEE would have written it."""
    _active_ae(task, state, Mode.DECRYPT)
    dst.need(len(src))
    end = _before_last(src)
    for at, piece in src.pieces(0, end):
        dst.put_at(at, task.native.ae_update(state, piece))
    try:
        dst.put_at(end, task.native.ae_dec_final(state, src[end:], tag))
    except TeeError:
        for at in range(0, end, PIECE):
            dst.put_at(at, bytes(PIECE))
        raise
    dst.report(len(src))
