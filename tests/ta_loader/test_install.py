"""Images offered for installation: one kind is taken, and every change of it is TEE_ERROR_SECURITY."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ta_loader.container.sign import sign, sign_subkey, subkey_uuid
from ta_loader.install import installable
from tee.abi import results
from tee.errors import TeeError

from .container_kit import ELF, ENC_KEY, UUID_A, private_pem, public_pem, store_of

TRUST = store_of("root")
IMAGE = sign(ELF, private_pem("root"), UUID_A, 7)
HEADER = 20 + 32 + 256
"""Bytes of struct shdr with SHA-256 and RSA-2048."""


def refused(image: bytes, *, allow_unsigned: bool = False, key: str = "root") -> None:
    with pytest.raises(TeeError) as refusal:
        installable(image, store_of(key, allow_unsigned=allow_unsigned))
    assert refusal.value.result == results.SECURITY


def test_a_bootstrap_image() -> None:
    assert installable(IMAGE, TRUST) == (UUID_A, 7, ELF)


@pytest.mark.parametrize("offset", [0, 4, 8, 12, 16, 18, 20, 52, HEADER, HEADER + 16, 3000, len(IMAGE) - 1])
def test_one_bit(offset: int) -> None:
    """Magic, type, sizes, algorithm, hash, signature, UUID, version and payload, as xtest 1008."""
    image = bytearray(IMAGE)
    image[offset] ^= 1
    refused(bytes(image))
    refused(bytes(image), allow_unsigned=True)


@settings(max_examples=200)
@given(st.integers(0, len(IMAGE) - 1), st.integers(1, 255))
def test_any_byte(offset: int, flip: int) -> None:
    image = bytearray(IMAGE)
    image[offset] ^= flip
    refused(bytes(image))


@settings(max_examples=50)
@given(st.integers(0, len(IMAGE) - 1))
def test_truncated(size: int) -> None:
    refused(IMAGE[:size])


def test_longer_than_it_says() -> None:
    refused(IMAGE + b"\0")


def test_nobody_s_signature_is_enough() -> None:
    refused(IMAGE, key="other")
    refused(IMAGE, key="other", allow_unsigned=True)
    refused(ELF)
    refused(ELF, allow_unsigned=True)
    refused(b"")


def test_other_kinds_of_image() -> None:
    """OP-TEE installs SHDR_BOOTSTRAP_TA alone (install_ta)."""
    refused(sign(ELF, private_pem("root"), UUID_A, plain=True))
    refused(sign(ELF, private_pem("root"), UUID_A, 7, enc_key=ENC_KEY))
    subkey = sign_subkey(public_pem("sub"), private_pem("root"), UUID_A, name_size=16)
    below = sign(ELF, private_pem("sub"), subkey_uuid(subkey, "ta"), 7, subkey=subkey, name="ta")
    refused(below)
    refused(subkey)
