"""Make `.ta` files and subkeys: sign, and encrypt when asked. Offline work, with pyca `cryptography`.

Byte for byte the format of optee_os scripts/sign_encrypt.py. All keys are PEM, all sizes bytes. `UsageError` for
arguments that would make an image which no OP-TEE opens.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from south.errors import UsageError
from ta_loader.container.describe import describe
from ta_loader.container.layout import (
    ALGORITHMS,
    BOOTSTRAP,
    ENC_IV_SIZE,
    ENC_TAG_SIZE,
    ENCRYPTED,
    NO_DEPTH_LIMIT,
    RSASSA_PKCS1_PSS_MGF1_SHA256,
    SHDR,
    SHDR_ENC_KEY_DEV_SPECIFIC,
    SHDR_ENC_KEY_TYPE_MASK,
    SHDR_MAGIC,
    SUBKEY,
    SUBKEY_ATTR,
    TA_ENC_KEY_SIZE,
    TEE_ALG_AES_GCM,
    TEE_ATTR_RSA_MODULUS,
    TEE_ATTR_RSA_PUBLIC_EXPONENT,
    Algorithm,
    ImageType,
)
from ta_loader.container.namespace import next_uuid
from ta_loader.container.parse import MAX_EXPONENT_BYTES, MAX_RSA_BYTES, Subkey

if TYPE_CHECKING:
    from uuid import UUID

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

_U32: Final = 0xFFFFFFFF
_ATTRIBUTES: Final = 2


def sign(
    elf: bytes,
    key_pem: bytes,
    uuid: UUID,
    version: int = 0,
    algo: int = RSASSA_PKCS1_PSS_MGF1_SHA256,
    *,
    subkey: bytes | None = None,
    name: str = "",
    enc_key: bytes | None = None,
    enc_key_type: int = SHDR_ENC_KEY_DEV_SPECIFIC,
    plain: bool = False,
) -> bytes:
    """A `.ta` file of `elf`.

    key_pem: private key; of the last subkey if `subkey` (a file of `sign_subkey`) is given.
    name: of this TA below that subkey. enc_key: 32 bytes, makes an encrypted TA.
    plain: the oldest format, without UUID and version.
    """
    if plain and (enc_key is not None or version):
        raise UsageError("the plain format holds neither a version nor an encrypted image")
    algorithm, key = _algorithm(algo), _private_key(key_pem)
    prefix = b"" if subkey is None else _join_chain(subkey, name, uuid, key.public_key())
    if plain:
        return prefix + _signed(ImageType.TA, algorithm, key, b"", elf, elf)
    bootstrap = BOOTSTRAP.pack(uuid.bytes, _u32(version, "version"))
    if enc_key is None:
        return prefix + _signed(ImageType.BOOTSTRAP_TA, algorithm, key, bootstrap, elf, elf)
    encryption, ciphertext = _encrypt(elf, enc_key, enc_key_type)
    return prefix + _signed(ImageType.ENCRYPTED_TA, algorithm, key, bootstrap + encryption, elf, ciphertext)


def sign_subkey(
    subkey_pem: bytes,
    key_pem: bytes,
    uuid: UUID,
    *,
    name_size: int,
    version: int = 0,
    max_depth: int | None = None,
    algo: int = RSASSA_PKCS1_PSS_MGF1_SHA256,
    subkey: bytes | None = None,
    name: str = "",
) -> bytes:
    """A subkey file: the public half of `subkey_pem`, allowed to sign below `uuid` by `key_pem`.

    name_size: room for the name of what follows; 0 makes an identity subkey, which signs one TA, with its own UUID.
    max_depth: levels of subkeys allowed below; by default one less than the parent's, 0 without a parent.
    subkey, name: the parent's file, and this subkey's name below it.
    """
    algorithm, key, public = _algorithm(algo), _private_key(key_pem), _public_key(subkey_pem)
    prefix, limit = b"", NO_DEPTH_LIMIT
    if subkey is not None:
        prefix = _join_chain(subkey, name, uuid, key.public_key())
        limit = _last_subkey(subkey).max_depth
    depth = max_depth if max_depth is not None else (limit - 1 if subkey is not None else 0)
    if not 0 <= depth < limit:
        raise UsageError(f"max_depth {depth} must be less than the {limit} that the subkey above allows")
    numbers = public.public_numbers()
    modulus, exponent = _positive(numbers.n), _positive(numbers.e)
    if public.key_size > MAX_RSA_BYTES * 8 or numbers.e.bit_length() > MAX_EXPONENT_BYTES * 8:
        raise UsageError(f"a subkey of {public.key_size} bits is longer than OP-TEE's {MAX_RSA_BYTES * 8}")
    start = SUBKEY.size + _ATTRIBUTES * SUBKEY_ATTR.size
    body = b"".join(
        (
            SUBKEY.pack(uuid.bytes, _u32(name_size, "name_size"), _u32(version, "version"), depth, algo, _ATTRIBUTES),
            SUBKEY_ATTR.pack(TEE_ATTR_RSA_MODULUS, start, len(modulus)),
            SUBKEY_ATTR.pack(TEE_ATTR_RSA_PUBLIC_EXPONENT, start + len(modulus), len(exponent)),
            modulus,
            exponent,
        )
    )
    return prefix + _signed(ImageType.SUBKEY, algorithm, key, b"", body, body)


def subkey_uuid(subkey: bytes, name: str) -> UUID:
    """UUID that a TA or subkey called `name` has below a subkey file."""
    last = _last_subkey(subkey)
    return next_uuid(last.uuid, _name_field(last, name))


def _signed(
    kind: ImageType, algorithm: Algorithm, key: RSAPrivateKey, sub_headers: bytes, covered: bytes, stored: bytes
) -> bytes:
    """One signed header with what belongs to it; the signature covers `covered`, the file holds `stored`."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, utils

    chosen = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[algorithm.hash]
    sig_size = (key.key_size + 7) // 8
    raw = SHDR.pack(SHDR_MAGIC, kind, _u32(len(stored), "image size"), algorithm.number, algorithm.hash_size, sig_size)
    hasher = hashes.Hash(chosen)
    for part in (raw, sub_headers, covered):
        hasher.update(part)
    digest = hasher.finalize()
    scheme = (
        padding.PSS(mgf=padding.MGF1(chosen), salt_length=algorithm.hash_size) if algorithm.pss else padding.PKCS1v15()
    )
    signature = key.sign(digest, scheme, utils.Prehashed(chosen))
    return b"".join((raw, digest, signature, sub_headers, stored))


def _encrypt(elf: bytes, key: bytes, key_type: int) -> tuple[bytes, bytes]:
    """struct shdr_encrypted_ta with IV and tag, and the ciphertext."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(key) != TA_ENC_KEY_SIZE:
        raise UsageError(f"a TA encryption key has {TA_ENC_KEY_SIZE} bytes, not {len(key)}")
    if key_type & ~SHDR_ENC_KEY_TYPE_MASK:
        raise UsageError(f"TA encryption key type {key_type} is unknown")
    iv = os.urandom(ENC_IV_SIZE)
    sealed = AESGCM(key).encrypt(iv, elf, None)
    header = ENCRYPTED.pack(TEE_ALG_AES_GCM, key_type, ENC_IV_SIZE, ENC_TAG_SIZE)
    return header + iv + sealed[-ENC_TAG_SIZE:], sealed[:-ENC_TAG_SIZE]


def _join_chain(subkey: bytes, name: str, uuid: UUID, signer: RSAPublicKey) -> bytes:
    """The parent chain with the name of what follows, once it is sure that `uuid` and `signer` fit below it."""
    last = _last_subkey(subkey)
    field = _name_field(last, name)
    if next_uuid(last.uuid, field) != uuid:
        raise UsageError(f"below this subkey the name {name!r} has UUID {next_uuid(last.uuid, field)}, not {uuid}")
    if signer.public_numbers().n != int.from_bytes(last.modulus, "big"):
        raise UsageError(f"the signing key is not that of subkey {last.uuid}")
    return subkey + field


def _last_subkey(subkey: bytes) -> Subkey:
    """The last level of a subkey file, which ends where a name and another header would follow."""
    info = describe(subkey)
    if not info.subkey_file:
        raise UsageError(f"not a subkey file{': ' + info.problem if info.problem else ''}")
    return info.subkeys[-1]


def _name_field(last: Subkey, name: str) -> bytes:
    octets = name.encode("utf-8", "surrogateescape")
    if len(octets) > last.name_size:
        raise UsageError(f"the name {name!r} is longer than the {last.name_size} bytes that the subkey has for it")
    return octets.ljust(last.name_size, b"\0")


def _positive(number: int) -> bytes:
    # A leading zero even where the number's top bit is clear of a byte boundary: as sign_encrypt.py writes it.
    return number.to_bytes((number.bit_length() + 8) // 8, "big")


def _u32(value: int, what: str) -> int:
    if not 0 <= value <= _U32:
        raise UsageError(f"{what} {value} is not a 32-bit unsigned number")
    return value


def _algorithm(number: int) -> Algorithm:
    if number not in ALGORITHMS:
        raise UsageError(f"0x{number:08x} is no signature algorithm for TAs")
    return ALGORITHMS[number]


def _private_key(pem: bytes) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise UsageError("no private key in PEM form") from None
    if not isinstance(key, RSAPrivateKey):
        raise UsageError("OP-TEE takes only RSA keys for TAs")
    return key


def _public_key(pem: bytes) -> RSAPublicKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except ValueError:
        return _private_key(pem).public_key()
    if not isinstance(key, RSAPublicKey):
        raise UsageError("OP-TEE takes only RSA keys for TAs")
    return key
