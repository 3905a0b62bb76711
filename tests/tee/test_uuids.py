"""UUID layouts, against the fields of struct TEE_UUID and RFC 4122's text."""

from __future__ import annotations

import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee.abi.uuids import tee_uuid_bytes, uuid_from_octets, uuid_from_tee, uuid_octets


@given(st.uuids())
def test_layouts(uuid: UUID) -> None:
    struct_bytes = struct.pack("<IHH", *uuid.fields[:3]) + struct.pack(">Q", uuid.int & (1 << 64) - 1)
    assert tee_uuid_bytes(uuid) == struct_bytes
    assert uuid_octets(uuid) == bytes.fromhex(str(uuid).replace("-", ""))
    assert uuid_from_tee(struct_bytes) == uuid
    assert uuid_from_octets(uuid_octets(uuid)) == uuid


@given(st.binary(max_size=40).filter(lambda b: len(b) != 16))
def test_sizes(data: bytes) -> None:
    with pytest.raises(ValueError, match="16"):
        uuid_from_tee(data)
    with pytest.raises(ValueError, match="16"):
        uuid_from_octets(data)
