"""Vectors for what has few published ones, made of pyca's and Python's own primitives by the standards' definitions.

pyca runs on a libcrypto of its own, and has neither CBC-MAC nor CTS nor SM4-XTS: those are put together here.
"""

from __future__ import annotations

import hmac
from random import Random

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm, algorithms, modes

from tee.abi.algorithms import Algorithm, MainAlgorithm, main_algorithm
from tests.vectors.kinds import Crypt, Mac

_A = Algorithm

KEY_SIZES = {
    MainAlgorithm.AES: (16, 24, 32),
    MainAlgorithm.DES: (8,),
    MainAlgorithm.DES3: (16, 24),
    MainAlgorithm.SM4: (16,),
}

CBC_MACS = (
    _A.AES_CBC_MAC_NOPAD,
    _A.AES_CBC_MAC_PKCS5,
    _A.DES_CBC_MAC_NOPAD,
    _A.DES_CBC_MAC_PKCS5,
    _A.DES3_CBC_MAC_NOPAD,
    _A.DES3_CBC_MAC_PKCS5,
)

HMACS = {
    _A.HMAC_MD5: "md5",
    _A.HMAC_SHA1: "sha1",
    _A.HMAC_SHA224: "sha224",
    _A.HMAC_SHA256: "sha256",
    _A.HMAC_SHA384: "sha384",
    _A.HMAC_SHA512: "sha512",
    _A.HMAC_SHA3_224: "sha3_224",
    _A.HMAC_SHA3_256: "sha3_256",
    _A.HMAC_SHA3_384: "sha3_384",
    _A.HMAC_SHA3_512: "sha3_512",
    _A.HMAC_SM3: "sm3",
}


def _primitive(algorithm: int, key: bytes) -> CipherAlgorithm:
    main = main_algorithm(algorithm)
    if main == MainAlgorithm.AES:
        return algorithms.AES(key)
    if main == MainAlgorithm.SM4:
        return algorithms.SM4(key)
    return TripleDES((key * 3)[:24])  # one key thrice is DES; two are K1, K2, K1


def _ecb(algorithm: int, key: bytes, data: bytes) -> bytes:
    return Cipher(_primitive(algorithm, key), modes.ECB()).encryptor().update(data)


def _cbc(algorithm: int, key: bytes, iv: bytes, data: bytes) -> bytes:
    return Cipher(_primitive(algorithm, key), modes.CBC(iv)).encryptor().update(data)


def cbc_macs(algorithm: Algorithm) -> list[Mac]:
    """ISO/IEC 9797-1 MAC algorithm 1; PKCS5: each byte of the padding is its length."""
    rng = Random(algorithm)
    padded = algorithm.name.endswith("PKCS5")
    block = 16 if main_algorithm(algorithm) == MainAlgorithm.AES else 8
    vectors = []
    for size in KEY_SIZES[MainAlgorithm(main_algorithm(algorithm))]:
        for length in (block, 2 * block, *(rng.randrange(1, 300) for _ in range(30)), *((0, block - 1) * padded)):
            key, message = rng.randbytes(size), rng.randbytes(length)
            if not padded:
                message += bytes(-length % block)
            pad = block - len(message) % block
            text = message + bytes([pad]) * pad if padded else message
            vectors.append(Mac(algorithm, key, message, _cbc(algorithm, key, bytes(block), text)[-block:]))
    return vectors


def hmacs(algorithm: Algorithm) -> list[Mac]:
    """RFC 2104, by Python's own module; keys of every size that OP-TEE takes for all hashes, and beyond."""
    rng = Random(algorithm)
    vectors = []
    for size in (32, 33, 48, 63, 64, 65, 100, 127, 128, 200):
        key, message = rng.randbytes(size), rng.randbytes(rng.randrange(400))
        vectors.append(Mac(algorithm, key, message, hmac.digest(key, message, HMACS[algorithm])))
    return vectors


def cts() -> list[Crypt]:
    """NIST SP 800-38A addendum, CBC-CS3: the last two blocks of CBC swapped, and the last one cut."""
    rng = Random("CTS")
    vectors = []
    for size in KEY_SIZES[MainAlgorithm.AES]:
        for length in (17, 31, 32, 33, 47, 48, 49, 64, *(rng.randrange(17, 700) for _ in range(30))):
            key, iv, plain = rng.randbytes(size), rng.randbytes(16), rng.randbytes(length)
            text = _cbc(_A.AES_CTS, key, iv, plain + bytes(-length % 16))
            cipher = (text[:-32] + text[-16:] + text[-32:-16])[:length]
            vectors.append(Crypt(_A.AES_CTS, key, b"", iv, plain, cipher))
    return vectors


def _doubled(tweak: bytes) -> bytes:
    """Times x in GF(2^128), the first byte the least significant (IEEE 1619-2018 §5.2)."""
    n = int.from_bytes(tweak, "little") << 1
    return ((n ^ 0x87) & (1 << 128) - 1 if n >> 128 else n).to_bytes(16, "little")


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def _xts(algorithm: int, key1: bytes, key2: bytes, iv: bytes, plain: bytes) -> bytes:
    """IEEE 1619-2018 §5.3."""
    tweak = _ecb(algorithm, key2, iv)
    blocks = []
    for at in range(0, len(plain) - 15, 16):
        blocks.append(_xor(_ecb(algorithm, key1, _xor(plain[at : at + 16], tweak)), tweak))
        tweak = _doubled(tweak)
    rest = plain[len(blocks) * 16 :]
    if rest:
        stolen = blocks.pop()
        blocks.append(_xor(_ecb(algorithm, key1, _xor(rest + stolen[len(rest) :], tweak)), tweak))
        blocks.append(stolen[: len(rest)])
    return b"".join(blocks)


def sm4_xts() -> list[Crypt]:
    """As OP-TEE has it: IEEE 1619's XTS over SM4 (GB/T 17964-2021 numbers the tweak's bits the other way)."""
    rng = Random("SM4-XTS")
    vectors = []
    for length in (16, 17, 31, 32, 33, 48, *(rng.randrange(16, 400) for _ in range(20))):
        key1, key2, iv, plain = (rng.randbytes(n) for n in (16, 16, 16, length))
        vectors.append(Crypt(_A.SM4_XTS, key1, key2, iv, plain, _xts(_A.SM4_XTS, key1, key2, iv, plain)))
    return vectors


def self_check(vectors: list[Crypt]) -> None:
    """The same composition with AES must give published XTS vectors."""
    for v in vectors:
        assert _xts(v.algorithm, v.key1, v.key2, v.iv, v.plain) == v.cipher
