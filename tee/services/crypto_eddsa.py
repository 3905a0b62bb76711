"""Ed25519, Ed25519ctx and Ed25519ph: the parameters of an operation.

Source: optee_os core/tee/tee_svc_cryp.c (tee_svc_obj_ed25519_parse_params); RFC 8032 §5.1; GP TEE
Internal Core API v1.3.1 table 6-8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.attributes import Attr
from tee.crypto.keys import Eddsa
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tee.syscalls.arguments import Attribute

MAX_CONTEXT = 255
"""TEE_ED25519_CTX_MAX_LENGTH, octets."""


def eddsa_variant(params: Sequence[Attribute]) -> Eddsa:
    """BAD_PARAMETERS: another attribute, two contexts, or a value that is none."""
    prehash, context = False, b""
    for attr in params:
        if attr.id == Attr.EDDSA_PREHASH:
            if attr.b or attr.a > 1:
                raise TeeError(results.BAD_PARAMETERS, "EDDSA_PREHASH is 0 or 1")
            prehash = bool(attr.a)
        elif attr.id == Attr.EDDSA_CTX:
            if context or attr.b > MAX_CONTEXT:
                raise TeeError(results.BAD_PARAMETERS, f"one context of at most {MAX_CONTEXT} octets")
            context = attr.read()
        else:
            raise TeeError(results.BAD_PARAMETERS, f"attribute {attr.id:#x} in an Ed25519 operation")
    return Eddsa(prehash, context)
