"""Where the vectors of each kind are, and how a record of a file becomes one."""

from __future__ import annotations

import functools
from random import Random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tee.abi.algorithms import Algorithm
from tests.vectors import composed, published
from tests.vectors.files import nist, octets, wycheproof
from tests.vectors.kinds import Ae, Crypt, Digest, Mac

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.vectors.files import Record

SAMPLE = 12
"""Records of each source in a run that does not take everything."""

V = TypeVar("V", bound=tuple[Any, ...])

_A = Algorithm


class Source(Generic[V]):
    """A file, or another set of records. Nothing is read before `take`, so that collecting tests stays quick."""

    def __init__(
        self,
        name: str,
        read: Callable[[], Sequence[Any]],
        convert: Callable[[Any], Iterable[V]] = lambda vector: (vector,),
        sample: int = SAMPLE,
    ) -> None:
        self.name = name
        self._read = read
        self._convert = convert
        self._sample = sample

    def __repr__(self) -> str:
        return self.name

    def take(self, everything: bool) -> list[V]:
        """All vectors, or those of a sample, which is always the same."""
        records = self._read()
        if not everything and len(records) > self._sample:
            records = Random(self.name).sample(records, self._sample)
        return [vector for record in records for vector in self._convert(record)]


def _nist(name: str, convert: Callable[[Record], Iterable[V]], sample: int = SAMPLE) -> Source[V]:
    return Source(name, functools.partial(nist, name), convert, sample)


def _wycheproof(name: str, convert: Callable[[dict[str, Any]], Iterable[V]], sample: int = SAMPLE) -> Source[V]:
    return Source(f"wycheproof/{name}", functools.partial(wycheproof, name), convert, sample)


# --- digests


def _digest(algorithm: int) -> Callable[[Record], Iterable[Digest]]:
    def convert(r: Record) -> Iterable[Digest]:
        message = octets(r, "msg", int(r["len"]) // 8 if "len" in r else None)
        yield Digest(algorithm, message, octets(r, "md") or octets(r, "output"))

    return convert


_HASH_FILES = {
    "SHA1/SHA1": _A.SHA1,
    "SHA2/SHA224": _A.SHA224,
    "SHA2/SHA256": _A.SHA256,
    "SHA2/SHA384": _A.SHA384,
    "SHA2/SHA512": _A.SHA512,
    "SHA3/SHA3_224": _A.SHA3_224,
    "SHA3/SHA3_256": _A.SHA3_256,
    "SHA3/SHA3_384": _A.SHA3_384,
    "SHA3/SHA3_512": _A.SHA3_512,
    "SHAKE/SHAKE128": _A.SHAKE128,
    "SHAKE/SHAKE256": _A.SHAKE256,
}

DIGESTS: list[Source[Digest]] = [
    *(_nist(f"hashes/{f}{kind}Msg.rsp", _digest(a)) for f, a in _HASH_FILES.items() for kind in ("Short", "Long")),
    *(_nist(f"hashes/{f}VariableOut.rsp", _digest(a)) for f, a in _HASH_FILES.items() if "SHAKE" in f),
    _nist("hashes/MD5/rfc-1321.txt", _digest(_A.MD5)),
    _nist("hashes/SM3/oscca.txt", _digest(_A.SM3)),
    Source("GM/T 0004-2012", lambda: published.SM3),
]

MONTE = {f"hashes/{f}Monte.rsp": a for f, a in _HASH_FILES.items()}
"""Files of CAVP's Monte Carlo tests, and their algorithms."""


# --- MACs


def _mac(algorithm: int) -> Callable[[Record], Iterable[Mac]]:
    def convert(r: Record) -> Iterable[Mac]:
        key = octets(r, "key") or octets(r, "key1") + octets(r, "key2") + octets(r, "key3")
        message = octets(r, "msg") or octets(r, "message")
        value = octets(r, "md") or octets(r, "output")
        yield Mac(algorithm, key, message, value)
        if "key3" in r and r["key1"] == r["key3"]:
            yield Mac(algorithm, key[:16], message, value)

    return convert


def _wycheproof_mac(t: dict[str, Any]) -> Iterable[Mac]:
    key, message, tag = (bytes.fromhex(t[name]) for name in ("key", "msg", "tag"))
    yield Mac(_A.AES_CMAC, key, message, tag, t["result"] == "valid")


_HMAC_FILES = {
    "rfc-2202-md5": _A.HMAC_MD5,
    "rfc-2202-sha1": _A.HMAC_SHA1,
    "rfc-4231-sha224": _A.HMAC_SHA224,
    "rfc-4231-sha256": _A.HMAC_SHA256,
    "rfc-4231-sha384": _A.HMAC_SHA384,
    "rfc-4231-sha512": _A.HMAC_SHA512,
}

MACS: list[Source[Mac]] = [
    *(_nist(f"HMAC/{f}.txt", _mac(a)) for f, a in _HMAC_FILES.items()),
    *(_nist(f"CMAC/nist-800-38b-aes{bits}.txt", _mac(_A.AES_CMAC)) for bits in (128, 192, 256)),
    _nist("CMAC/nist-800-38b-3des.txt", _mac(_A.DES3_CMAC)),
    _wycheproof("Hash/wycheproof/aes_cmac_test.json", _wycheproof_mac, 60),
    Source("NIST HMAC-SHA3", lambda: published.HMAC_SHA3),
    Source("GM/T 0042-2015", lambda: published.HMAC_SM3),
    Source("FIPS 113", lambda: published.FIPS113),
    *(Source(f"{a.name} of CBC", functools.partial(composed.cbc_macs, a), sample=30) for a in composed.CBC_MACS),
    *(Source(f"{a.name} of hmac", functools.partial(composed.hmacs, a)) for a in composed.HMACS),
]


# --- ciphers


def _cipher(algorithm: int) -> Callable[[Record], Iterable[Crypt]]:
    def convert(r: Record) -> Iterable[Crypt]:
        yield Crypt(algorithm, octets(r, "key"), b"", octets(r, "iv"), octets(r, "plaintext"), octets(r, "ciphertext"))

    return convert


def _des(des: int, des3: int) -> Callable[[Record], Iterable[Crypt]]:
    """Triple DES with one key thrice is DES; with two, its key may be given in the short form."""

    def convert(r: Record) -> Iterable[Crypt]:
        keys = [octets(r, name) for name in ("key1", "key2", "key3")] if "key1" in r else [octets(r, "keys")] * 3
        rest = (b"", octets(r, "iv"), octets(r, "plaintext"), octets(r, "ciphertext"))
        yield Crypt(des3, b"".join(keys), *rest)
        if keys[0] == keys[2]:
            yield Crypt(des3, b"".join(keys[:2]), *rest)
            if keys[0] == keys[1]:
                yield Crypt(des, keys[0], *rest)

    return convert


def _xts(r: Record) -> Iterable[Crypt]:
    """Units of whole bytes only. A sequence number is the tweak, little-endian."""
    if int(r["dataunitlen"]) % 8:
        return
    key = octets(r, "key")
    tweak = octets(r, "i") or int(r["dataunitseqnumber"]).to_bytes(16, "little")
    half = len(key) // 2
    yield Crypt(_A.AES_XTS, key[:half], key[half:], tweak, octets(r, "pt"), octets(r, "ct"))


def _wycheproof_xts(t: dict[str, Any]) -> Iterable[Crypt]:
    """Short tweaks are data unit sequence numbers."""
    key, iv, plain, cipher = (bytes.fromhex(t[name]) for name in ("key", "iv", "msg", "ct"))
    half = len(key) // 2
    yield Crypt(_A.AES_XTS, key[:half], key[half:], iv.ljust(16, b"\0"), plain, cipher)


_AES_SIZES = (128, 192, 256)
_AES_TESTS = ("GFSbox", "KeySbox", "MMT", "VarKey", "VarTxt")
_TDES_TESTS = ("MMT1", "MMT2", "MMT3", "invperm", "permop", "subtab", "varkey", "vartext")

CIPHERS: list[Source[Crypt]] = [
    *(
        _nist(f"ciphers/AES/{mode}/{mode}{test}{bits}.rsp", _cipher(algorithm))
        for mode, algorithm in (("ECB", _A.AES_ECB_NOPAD), ("CBC", _A.AES_CBC_NOPAD))
        for test in _AES_TESTS
        for bits in _AES_SIZES
    ),
    *(_nist(f"ciphers/AES/CTR/aes-{bits}-ctr.txt", _cipher(_A.AES_CTR)) for bits in _AES_SIZES),
    *(
        _nist(f"ciphers/AES/XTS/{tweak}/XTSGenAES{bits}.rsp", _xts, 40)
        for tweak in ("tweak-128hexstr", "tweak-dataunitseqno")
        for bits in (128, 256)
    ),
    _wycheproof("Cipher/wycheproof/aes_xts_test.json", _wycheproof_xts, 40),
    *(
        _nist(f"ciphers/3DES/{mode}/T{mode}{test}.rsp", _des(des, des3))
        for mode, des, des3 in (
            ("ECB", _A.DES_ECB_NOPAD, _A.DES3_ECB_NOPAD),
            ("CBC", _A.DES_CBC_NOPAD, _A.DES3_CBC_NOPAD),
        )
        for test in _TDES_TESTS
    ),
    *(
        _nist(f"ciphers/SM4/draft-ribose-cfrg-sm4-10-{mode}.txt", _cipher(algorithm))
        for mode, algorithm in (("ecb", _A.SM4_ECB_NOPAD), ("cbc", _A.SM4_CBC_NOPAD), ("ctr", _A.SM4_CTR))
    ),
    Source("RFC 3962", lambda: published.RFC3962),
    Source("GM/T 0002-2012", lambda: published.SM4),
    Source("AES-CTS of CBC", composed.cts, sample=30),
    Source("SM4-XTS of ECB", composed.sm4_xts),
]


# --- authenticated encryption


def _gcm(r: Record) -> Iterable[Ae]:
    key, nonce, aad, plain, cipher, tag = (octets(r, name) for name in ("key", "iv", "aad", "pt", "ct", "tag"))
    valid = "fail" not in r
    yield Ae(_A.AES_GCM, key, nonce, aad, plain if valid else bytes(len(cipher)), cipher, tag, valid)


def _ccm(r: Record) -> Iterable[Ae]:
    plain_size, tag_size = int(r["plen"]), int(r["tlen"])
    aad = octets(r, "adata", int(r["alen"]))
    sealed = octets(r, "ct")
    assert len(sealed) == plain_size + tag_size
    valid = r.get("result", "Pass") == "Pass"
    plain = octets(r, "payload", plain_size) if valid else bytes(plain_size)
    yield Ae(
        _A.AES_CCM, octets(r, "key"), octets(r, "nonce"), aad, plain, sealed[:plain_size], sealed[plain_size:], valid
    )


_BROKEN = {"ZeroLengthIv", "InvalidNonceSize", "InvalidTagSize", "InsecureTagSize"}
"""Flags of Wycheproof's vectors that no operation may be started with."""


def _wycheproof_ae(algorithm: int) -> Callable[[dict[str, Any]], Iterable[Ae]]:
    def convert(t: dict[str, Any]) -> Iterable[Ae]:
        if algorithm == _A.AES_GCM and "ZeroLengthIv" in t["flags"]:
            return  # OP-TEE takes it; tests/tee/crypto/test_ae.py computes by the book what comes out
        key, nonce, aad, plain, cipher, tag = (bytes.fromhex(t[n]) for n in ("key", "iv", "aad", "msg", "ct", "tag"))
        parameters = not _BROKEN & set(t["flags"])
        yield Ae(algorithm, key, nonce, aad, plain, cipher, tag, t["result"] == "valid", parameters)

    return convert


AUTHENTICATED: list[Source[Ae]] = [
    *(
        _nist(f"ciphers/AES/GCM/{name}{bits}.rsp", _gcm, 60)
        for name in ("gcmDecrypt", "gcmEncryptExtIV")
        for bits in _AES_SIZES
    ),
    *(
        _nist(f"ciphers/AES/CCM/{name}{bits}.rsp", _ccm, 25)
        for name in ("DVPT", "VADT", "VNT", "VPT", "VTT")
        for bits in _AES_SIZES
    ),
    _wycheproof("Cipher/wycheproof/aes_gcm_test.json", _wycheproof_ae(_A.AES_GCM), 80),
    _wycheproof("Cipher/wycheproof/aes_ccm_test.json", _wycheproof_ae(_A.AES_CCM), 80),
]
