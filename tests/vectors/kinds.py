"""What a vector of each kind of algorithm says."""

from __future__ import annotations

from typing import NamedTuple


class Digest(NamedTuple):
    """For an extendable-output function the digest is as long as was asked for."""

    algorithm: int
    message: bytes
    digest: bytes


class Mac(NamedTuple):
    """valid: False if `mac` is not the message's, or the key must be refused."""

    algorithm: int
    key: bytes
    message: bytes
    mac: bytes
    valid: bool = True


class Crypt(NamedTuple):
    """key2: of XTS. iv: empty for ECB."""

    algorithm: int
    key1: bytes
    key2: bytes
    iv: bytes
    plain: bytes
    cipher: bytes


class Ae(NamedTuple):
    """valid: False if decryption must answer MAC_INVALID (`plain` is then unknown: zeros).

    parameters: False if they break the algorithm's rules: the operation must not even start.
    """

    algorithm: int
    key: bytes
    nonce: bytes
    aad: bytes
    plain: bytes
    cipher: bytes
    tag: bytes
    valid: bool = True
    parameters: bool = True
