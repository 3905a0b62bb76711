"""Object identifiers of trusted storage as people see them: any octets, mostly a name."""

from __future__ import annotations


def show_oid(oid: bytes) -> str:
    """As text where that is plain, else `hex:` and digits."""
    text = oid.decode("ascii", "replace")
    if text.isprintable() and text.isascii() and text and " " not in text and not text.startswith("hex:"):
        return text
    return f"hex:{oid.hex()}"
