"""Whose signatures on TA images are believed: keys that the user named, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from south.errors import UsageError
from ta_loader.container.rsa_key import RsaPublicKey, Verifier
from ta_loader.inputs import NamedPath, naming, read_input, read_toml
from tee.crypto.public_key import PublicKey
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Iterable

MIN_RSA_BITS: Final = 2048
"""is_weak_key_size() in optee_os core/crypto/signed_hdr.c (since 4.6)."""
MAX_ROOT_EXPONENT: Final = 0xFFFFFFFF
"""scripts/pem_to_pub_c.py refuses a longer one for the key that is built into OP-TEE."""
MAX_KEY_FILE: Final = 64 << 10
"""Bytes."""
MAX_CONFIG: Final = 1 << 20
"""Bytes of the configuration file."""
KIT_KEY: Final = os.path.join("keys", "default_ta.pem")
"""Where a TA development kit keeps the key that its makefiles sign with."""


class TrustStore:
    """Trust anchors. Keys can be added at any time, never taken away; safe to share between threads.

    allow_unsigned: also open bare ELF files, and images that no trusted key signed (their hashes must still match).
    min_rsa_bits: shorter keys are refused, as anchors and as subkeys.
    """

    def __init__(
        self, sources: Iterable[str] = (), *, allow_unsigned: bool = False, min_rsa_bits: int = MIN_RSA_BITS
    ) -> None:
        self.allow_unsigned = allow_unsigned
        self.min_rsa_bits = min_rsa_bits
        self._keys: tuple[Verifier, ...] = ()
        for source in sources:
            self.add(source)

    @property
    def keys(self) -> tuple[Verifier, ...]:
        return self._keys

    def add(self, source: str) -> Verifier:
        """Trust a PEM file, or the signing key of the TA development kit in a folder. UsageError if it has no key."""
        if not source:
            raise UsageError("the name of a key's file is empty")
        return self.add_kit(source) if os.path.isdir(source) else self.add_pem(source)

    def add_kit(self, folder: str) -> Verifier:
        """Trust `keys/default_ta.pem` of a TA development kit."""
        path = os.path.join(folder, KIT_KEY)
        return self.add_pem(NamedPath(path, folder.where) if isinstance(folder, NamedPath) else path)

    def add_pem(self, path: str) -> Verifier:
        """Trust the key in a PEM file; of a private key, its public half."""
        pem = read_input(path, "the key", MAX_KEY_FILE)
        with naming(path):
            return self.add_key(pem, os.path.basename(path))

    def add_key(self, pem: bytes, name: str) -> Verifier:
        """Trust a key in PEM form; `name` stands for it in messages."""
        numbers = _public_half(pem, name)
        if numbers.bits < self.min_rsa_bits:
            raise UsageError(f"{name}: RSA keys of {numbers.bits} bits are too weak, {self.min_rsa_bits} are needed")
        if int.from_bytes(numbers.exponent, "big") > MAX_ROOT_EXPONENT:
            raise UsageError(f"{name}: OP-TEE takes no RSA public exponent of more than 32 bits")
        for known in self._keys:
            if known.numbers == numbers:
                return known
        try:
            key = Verifier(numbers, name)
        except ValueError as problem:
            raise UsageError(str(problem)) from None
        self._keys += (key,)
        return key

    def signer(self, algo: int, digest: bytes, signature: bytes) -> Verifier | None:
        """The trusted key that made `signature` over `digest`; None if no one did."""
        for key in self._keys:
            if key.verify(algo, digest, signature):
                return key
        return None


def _public_half(pem: bytes, name: str) -> RsaPublicKey:
    if b"ENCRYPTED" in pem:
        raise UsageError(f"{name}: the private key is encrypted; name its public key instead")
    try:
        key = PublicKey.from_pem(pem)
        if key.kind != "rsa":
            raise UsageError(f"{name}: OP-TEE takes only RSA keys for TAs")
        return RsaPublicKey(*key.rsa_numbers())
    except TeeError as problem:
        raise UsageError(f"{name}: {problem.detail or problem.result}") from None


class Config(NamedTuple):
    """What the user's configuration file says about TAs; absolute paths, `NamedPath`s that name it."""

    trust: tuple[str, ...] = ()
    ta_dirs: tuple[str, ...] = ()


def config_path() -> str:
    """`$XDG_CONFIG_HOME/litebox-ta/config.toml` (XDG Base Directory Specification v0.8)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "litebox-ta", "config.toml")


def read_config(path: str | None = None) -> Config:
    """Read `trust = [...]` and `ta_dirs = [...]`; paths are relative to the file's folder, `~` is the home folder.

    path: None for the user's own file, which may be missing. UsageError if it cannot be read or is malformed, or has a
    key that means nothing: a name with a mistake in it would silently be left out.
    """
    source = path if path is not None else config_path()
    if not os.path.lexists(source):
        if path is None:
            return Config()
        raise UsageError(f"{source}: no such configuration file")
    table = read_toml(source, "the configuration", MAX_CONFIG)
    for key in table:
        if key not in Config._fields:
            raise UsageError(f"{source}: {key!r} means nothing here; there are {' and '.join(Config._fields)}")
    return Config(_paths(table, "trust", source), _paths(table, "ta_dirs", source))


def _paths(table: dict[str, object], key: str, source: str) -> tuple[str, ...]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UsageError(f"{source}: {key} must be a list of paths")
    if not all(value and "\0" not in value for value in values):
        raise UsageError(f"{source}: {key}: a path is empty, or has a NUL in it")
    folder = os.path.dirname(os.path.abspath(source))
    return tuple(NamedPath(os.path.join(folder, os.path.expanduser(value)), f"{source}: {key}") for value in values)
