"""What pseudo TAs need from outside the secure world's core; the composition root hands it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID


class KeyStore(Protocol):
    """Keeps one key, in secret and unaltered: an object of trusted storage, for one."""

    def load(self) -> bytes | None:
        """None if there is none yet. TeeError(CORRUPT_OBJECT) and the like if it cannot be had."""

    def save(self, key: bytes) -> None:
        """TeeError(STORAGE_NO_SPACE) and the like if it cannot be kept."""


class SignedImage(NamedTuple):
    """A TA to install, every check passed. image: the ELF file."""

    uuid: UUID
    version: int
    image: bytes


class TaDatabase(Protocol):
    """TAs in secure storage (optee_os core/tee/tadb.c)."""

    def version(self, uuid: UUID) -> int | None:
        """Of the TA that is installed; None if there is none."""

    def install(self, ta: SignedImage) -> None:
        """Keep it, wholly or not at all, in place of what was there. TeeError."""


class PtaPorts(NamedTuple):
    """attestation_key: None: the attestation PTA's key lives as long as its world.

    verify: checks a signed image offered for installation, TeeError(SECURITY) for whatever is wrong with it; None:
    there is no PTA that installs TAs. database: where they go; None: nowhere, STORAGE_NOT_AVAILABLE.
    """

    attestation_key: KeyStore | None = None
    verify: Callable[[bytes], SignedImage] | None = None
    database: TaDatabase | None = None
