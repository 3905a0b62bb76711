"""Vectors of asymmetric standards that no package of vectors ships. Values are the standards', each with its place."""

from __future__ import annotations

from typing import NamedTuple

_h = bytes.fromhex


class EddsaVariant(NamedTuple):
    private: bytes
    public: bytes
    message: bytes
    context: bytes
    prehash: bool
    signature: bytes


_CTX_KEY = (
    _h("0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6"),
    _h("dfc9425e4f968f7f0c29f0259cf5f9aed6851c2bb4ad8bfb860cfee0ab248292"),
    _h("f726936d19c800494e3fdaff20b276a8"),
)

RFC8032 = (
    EddsaVariant(
        *_CTX_KEY,
        b"foo",
        False,
        _h(
            "55a4cc2f70a54e04288c5f4cd1e45a7bb520b36292911876cada7323198dd87a"
            "8b36950b95130022907a7fb7c4e9b2d5f6cca685a587b4b21f4b888e4e7edb0d"
        ),
    ),
    EddsaVariant(
        *_CTX_KEY,
        b"bar",
        False,
        _h(
            "fc60d5872fc46b3aa69f8b5b4351d5808f92bcc044606db097abab6dbcb1aee3"
            "216c48e8b3b66431b5b186d1d28f8ee15a5ca2df6668346291c2043d4eb3e90d"
        ),
    ),
    EddsaVariant(
        _h("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"),
        _h("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf"),
        b"abc",
        b"",
        True,
        _h(
            "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
            "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
        ),
    ),
)
"""RFC 8032 sections 7.2 (the first two) and 7.3."""

SM2_PRIVATE = _h("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")
SM2_X = _h("09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020")
SM2_Y = _h("ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13")
SM2_Z = _h("b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3")
"""The hash of identity and key that comes before a signed message."""
SM2_MESSAGE = b"message digest"
SM2_SIGNATURE = _h(
    "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)
"""GM/T 0003.5-2012 annex A.2."""
SM2_PLAIN = b"encryption standard"
SM2_CIPHERTEXT = _h(
    "0404ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73"
    "e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df0"
    "21886ca989ca9c7d58087307ca93092d651efa"
    "59983c18f809e262923c53aec295d30383b54e39d609d160afcb1908d0bd8766"
)
"""GM/T 0003.5-2012 annex C.2, as C1 || C2 || C3."""


class Sm2Side(NamedTuple):
    """A side of a key exchange. confirmation: what it sends to prove that it has the key."""

    private: bytes
    x: bytes
    y: bytes
    ephemeral: bytes
    ephemeral_x: bytes
    ephemeral_y: bytes
    confirmation: bytes


SM2_A = Sm2Side(
    _h("81eb26e941bb5af16df116495f90695272ae2cd63d6c4ae1678418be48230029"),
    _h("160e12897df4edb61dd812feb96748fbd3ccf4ffe26aa6f6db9540af49c94232"),
    _h("4a7dad08bb9a459531694beb20aa489d6649975e1bfcf8c4741b78b4b223007f"),
    _h("d4de15474db74d06491c440d305e012400990f3e390c7e87153c12db2ea60bb3"),
    _h("64ced1bdbc99d590049b434d0fd73428cf608a5db8fe5ce07f15026940bae40e"),
    _h("376629c7ab21e7db260922499ddb118f07ce8eaae3e7720afef6a5cc062070c0"),
    _h("18c7894b3816df16cf07b05c5ec0bef5d655d58f779cc1b400a4f3884644db88"),
)
SM2_B = Sm2Side(
    _h("785129917d45a9ea5437a59356b82338eaadda6ceb199088f14ae10defa229b5"),
    _h("6ae848c57c53c7b1b5fa99eb2286af078ba64c64591b8b566f7357d576f16dfb"),
    _h("ee489d771621a27b36c5c7992062e9cd09a9264386f3fbea54dff69305621c4d"),
    _h("7e07124814b309489125eaed101113164ebf0f3458c5bd88335c1f9d596243d6"),
    _h("acc27688a6f7b706098bc91ff3ad1bff7dc2802cdb14ccccdb0a90471f9bd707"),
    _h("2fedac0494b2ffc4d6853876c79b8f301c6573ad0aa50f39fc87181e1a1b46fe"),
    _h("d3a0fe15dee185ceae907a6b595cc32a266ed7b3367e9983a896dc32fa20f8eb"),
)
SM2_IDENTITY = b"1234567812345678"
SM2_SHARED = _h("6c89347354de2484c60b4ab1fde4c6e5")
"""GM/T 0003.5-2012 annex B.2: A is the initiator, and both have the same identity."""
