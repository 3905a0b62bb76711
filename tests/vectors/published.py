"""Vectors of standards that no package of vectors ships. Values are the standards', each with its place."""

from __future__ import annotations

from tee.abi.algorithms import Algorithm
from tests.vectors.kinds import Crypt, Digest, Mac

_A = Algorithm
_h = bytes.fromhex

_RFC3962_KEY = b"chicken teriyaki"
_RFC3962_TEXT = b"I would like the General Gau's Chicken, please, and wonton soup."


def _rfc3962(cipher: str) -> Crypt:
    data = _h(cipher)
    return Crypt(_A.AES_CTS, _RFC3962_KEY, b"", bytes(16), _RFC3962_TEXT[: len(data)], data)


RFC3962 = (
    _rfc3962("c6353568f2bf8cb4d8a580362da7ff7f97"),
    _rfc3962("fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5"),
    _rfc3962("39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584"),
    _rfc3962("97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e39312523a78662d5be7fcbcc98ebf5"),
    _rfc3962("97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd839312523a78662d5be7fcbcc98ebf5a8"),
    _rfc3962(
        "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a8"
        "4807efe836ee89a526730dbc2f7bc8409dad8bbb96c4cdc03bc103e1a194bbd8"
    ),
)
"""RFC 3962 appendix B: CBC with cipher text stealing as Kerberos 5 has it, which is CBC-CS3."""

SM4 = (
    Crypt(
        _A.SM4_ECB_NOPAD,
        _h("0123456789abcdeffedcba9876543210"),
        b"",
        b"",
        _h("0123456789abcdeffedcba9876543210"),
        _h("681edf34d206965e86b3e94f536e4246"),
    ),
)
"""GM/T 0002-2012 (GB/T 32907-2016) appendix A.1."""

SM4_MILLION = (SM4[0].key1, SM4[0].plain, _h("595298c7c6fd271f0402f804c33d3f66"))
"""GM/T 0002-2012 appendix A.2: key, text, and the text encrypted a million times over."""

SM3 = (
    Digest(_A.SM3, b"abc", _h("66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0")),
    Digest(_A.SM3, b"abcd" * 16, _h("debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732")),
)
"""GM/T 0004-2012 (GB/T 32905-2016) appendix A.1 and A.2."""

HMAC_SM3 = (
    Mac(
        _A.HMAC_SM3,
        bytes(range(1, 33)),
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq" * 2,
        _h("ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a"),
    ),
    Mac(
        _A.HMAC_SM3,
        bytes(range(1, 38)),
        b"\xcd" * 50,
        _h("220bf579ded555393f0159f66c99877822a3ecf610d1552154b41d44b94db3ae"),
    ),
)
"""GM/T 0042-2015 appendix D.3."""

FIPS113 = (
    Mac(_A.DES_CBC_MAC_NOPAD, _h("0123456789abcdef"), b"7654321 Now is the time for \0\0\0\0", _h("f1d30f6849312ca4")),
)
"""FIPS PUB 113 appendix 2; its text is filled up with zeros."""

_SHORT = b"Sample message for keylen<blocklen"
_EQUAL = b"Sample message for keylen=blocklen"

HMAC_SHA3 = (
    Mac(_A.HMAC_SHA3_224, bytes(range(28)), _SHORT, _h("332cfd59347fdb8e576e77260be4aba2d6dc53117b3bfb52c6d18c04")),
    Mac(
        _A.HMAC_SHA3_256,
        bytes(range(32)),
        _SHORT,
        _h("4fe8e202c4f058e8dddc23d8c34e467343e23555e24fc2f025d598f558f67205"),
    ),
    Mac(
        _A.HMAC_SHA3_384,
        bytes(range(48)),
        _SHORT,
        _h("d588a3c51f3f2d906e8298c1199aa8ff6296218127f6b38a90b6afe2c5617725bc99987f79b22a557b6520db710b7f42"),
    ),
    Mac(
        _A.HMAC_SHA3_384,
        bytes(range(104)),
        _EQUAL,
        _h("a27d24b592e8c8cbf6d4ce6fc5bf62d8fc98bf2d486640d9eb8099e24047837f5f3bffbe92dcce90b4ed5b1e7e44fa90"),
    ),
    Mac(
        _A.HMAC_SHA3_512,
        bytes(range(64)),
        _SHORT,
        _h(
            "4efd629d6c71bf86162658f29943b1c308ce27cdfa6db0d9c3ce81763f9cbce5"
            "f7ebe9868031db1a8f8eb7b6b95e5c5e3f657a8996c86a2f6527e307f0213196"
        ),
    ),
)
"""NIST, "Examples with intermediate values", HMAC with SHA3: samples 1 and 2 of each that fit OP-TEE's key sizes."""
