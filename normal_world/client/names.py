"""Names of TAs for a TEE that is not in this process."""

from __future__ import annotations

from uuid import UUID

from ta_loader.samples import HELLO, NAMES

SAMPLES = {name: HELLO[arch] for name, arch in NAMES.items()}
"""Bundled TAs, which every TEE of this program has; others by UUID, if they are installed there."""


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


def without_sample(uuid: UUID) -> str:
    """What to do about a TEE that does not have it, if it is a sample."""
    if uuid not in SAMPLES.values():
        return ""
    from ta_loader.samples import FOLDER

    return (
        f", a sample of LiteBox: install {FOLDER}/{uuid}.ta where that TEE finds its TAs, signed with a key it believes"
    )
