"""The private key that `litebox-ta sign` and `encrypt` sign with: read, decrypted, and one that `verify` will take."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli.options import Option
from ta_loader.inputs import read_input
from ta_loader.trust import MIN_RSA_BITS, TrustStore

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from ta_loader.cli.options import Arguments

KEY_OPTIONS = (
    Option("--key", "PEM", "private RSA key to sign with"),
    Option("--passphrase", "FILE", "holds the passphrase of an encrypted key in its first line (default: ask for it)"),
)
_ENCRYPTED = b"ENCRYPTED"
"""In both forms of PEM: `BEGIN ENCRYPTED PRIVATE KEY` (RFC 7468 §11), `Proc-Type: 4,ENCRYPTED` (RFC 1421 §4.6.1.1)."""


def read_signing_key(arguments: Arguments, *, below_subkey: bool) -> bytes:
    """PEM of the private key, not encrypted. UsageError; also for a key whose images no OP-TEE would load.

    below_subkey: the key is that of a subkey, not the one that OP-TEE is built with.
    """
    path = arguments.one("--key")
    if path is None:
        raise UsageError("name the private key: --key KEY.pem")
    pem = read_input(path, "--key")
    if _ENCRYPTED in pem:
        pem = _decrypted(pem, path, arguments.one("--passphrase"))
    elif arguments.one("--passphrase") is not None:
        raise UsageError(f"{path}: the key is not encrypted; leave out --passphrase")
    if below_subkey:
        # The public exponent of a subkey may be longer than that of the key in OP-TEE itself.
        _refuse_short(pem, path)
    else:
        TrustStore().add_key(pem, path)
    return pem


def _refuse_short(pem: bytes, path: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    key = _load(pem, path, None)
    if isinstance(key, RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
        raise UsageError(f"{path}: RSA keys of {key.key_size} bits are too weak, {MIN_RSA_BITS} are needed")


def _decrypted(pem: bytes, path: str, file: str | None) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = _load(pem, path, _passphrase(path, file))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load(pem: bytes, path: str, passphrase: bytes | None) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if passphrase is None:
            raise UsageError(f"{path}: no private key in PEM form, of a kind that signs TAs") from None
        raise UsageError(f"{path}: the passphrase is wrong, or the key is damaged") from None


def _passphrase(path: str, file: str | None) -> bytes:
    """From the file, or from the terminal."""
    if file is not None:
        return read_input(file, "--passphrase").partition(b"\n")[0].removesuffix(b"\r")
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        raise UsageError(
            f"{path}: the private key is encrypted; --passphrase FILE names a file with its passphrase"
        ) from None
    os.close(terminal)
    from getpass import getpass

    return os.fsencode(getpass(f"passphrase of {path}: "))
