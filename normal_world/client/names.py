"""Names of TAs for a TEE that is not in this process."""

from __future__ import annotations

from uuid import UUID

from ta_loader.samples import HELLO, NAMES

SAMPLES = {name: HELLO[arch] for name, arch in NAMES.items()}
"""Bundled TAs, which a daemon finds by UUID if it was given their folder."""


def uuid_of(ta: str) -> UUID:
    """Of a UUID's text, a sample's name (`hello`, `hello-arm`) or a file that is named by its UUID. ValueError."""
    if ta in SAMPLES:
        return SAMPLES[ta]
    text = ta.rpartition("/")[2].removesuffix(".ta")
    try:
        return UUID(text)
    except ValueError:
        raise ValueError(
            f"ta: {ta!r} is no UUID, no file UUID.ta and no sample ({', '.join(SAMPLES)}): other names mean nothing to "
            "a TEE outside of this process"
        ) from None
