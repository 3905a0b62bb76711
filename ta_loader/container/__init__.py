"""Signed TA containers (`.ta` files): open them with every check that OP-TEE makes, or describe what they claim.

`sign` makes them and `describe` shows them to people; they stand apart because opening must not wait for their
imports (pyca `cryptography`, above all).
"""

from __future__ import annotations

from ta_loader.container.layout import ImageType
from ta_loader.container.verify import Container, SubkeyLevel, check_versions, open_container
from ta_loader.container.versions import ProcessVersions, VersionDatabase

__all__ = [
    "Container",
    "ImageType",
    "ProcessVersions",
    "SubkeyLevel",
    "VersionDatabase",
    "check_versions",
    "open_container",
]
