"""For the tests of signed containers: keys, images, and OP-TEE's own signing script as oracle."""

from __future__ import annotations

import functools
import struct
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import UUID

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ta_loader.trust import TrustStore

if TYPE_CHECKING:
    from pathlib import Path

UUID_A = UUID("0a1b2c3d-4e5f-4607-8899-aabbccddeeff")
UUID_B = UUID("11111111-2222-4333-8444-555555555555")
ELF = b"\x7fELF" + bytes(range(256)) * 20
"""Looks like an ELF to a container, which does not look further."""
ENC_KEY = bytes(range(32))
PKCS1, PSS = 0x70004830, 0x70414930


def private_pem(name: str, bits: int = 2048) -> bytes:
    """A key of its own for every name and size."""
    return _generate(name, bits)


@functools.cache
def _generate(name: str, bits: int) -> bytes:
    key = rsa.generate_private_key(65537, bits)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@functools.cache
def public_pem(name: str, bits: int = 2048) -> bytes:
    key = serialization.load_pem_private_key(_generate(name, bits), None).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def store_of(*names: str, allow_unsigned: bool = False) -> TrustStore:
    """Trusts the named keys."""
    trust = TrustStore(allow_unsigned=allow_unsigned)
    for name in names:
        trust.add_key(public_pem(name), f"{name}.pem")
    return trust


def enc_key(flags: int) -> bytes:
    """Another key for each key type."""
    return bytes(byte ^ flags for byte in ENC_KEY)


def patch(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    """`data` with other fields at `offset` bytes."""
    new = struct.pack(layout, *values)
    return data[:offset] + new + data[offset + len(new) :]


def sign_encrypt(kit: Path, *arguments: object) -> str:
    """Run sign_encrypt.py of a TA development kit; what it printed. AssertionError if it fails."""
    script = kit / "scripts" / "sign_encrypt.py"
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
