"""Check a signed TA image that is to be installed in secure storage.

Source: optee_os core/pta/secstor_ta_mgmt.c (bootstrap, install_ta), core/crypto/signed_hdr.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ta_loader.container.layout import ImageType
from ta_loader.container.verify import open_container
from ta_loader.errors import ImageRefused
from tee.abi.results import SECURITY
from tee.errors import TeeError
from tee.pta.ports import SignedImage

if TYPE_CHECKING:
    from ta_loader.trust import TrustStore


def installable(data: bytes, trust: TrustStore) -> SignedImage:
    """The TA in an image of type SHDR_BOOTSTRAP_TA that a trust anchor itself signed.

    TeeError(SECURITY) for everything else, `TrustStore.allow_unsigned` or not: what is installed is believed later
    without a signature.
    """
    try:
        container = open_container(data, trust)
    except TeeError as problem:
        # Whatever the loader would call it; an algorithm that it does not know, for one.
        raise TeeError(SECURITY, problem.detail) from None
    if container.key is None:
        raise ImageRefused("signature", "nobody who is trusted signed the image")
    if container.kinds != (ImageType.BOOTSTRAP_TA,) or container.uuid is None:
        raise ImageRefused("type", "only a bootstrap image can be installed")
    return SignedImage(container.uuid, container.version, bytes(container.elf))
