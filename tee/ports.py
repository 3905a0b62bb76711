"""What the secure world needs from elsewhere and is handed by the composition root.

`tee` imports no loader: `ta_loader` makes an `ImageSource` and it is injected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from north.memory import AddressSpace
    from south.platform import Arch


class Frame(NamedTuple):
    """One line of a symbolised backtrace. offset: bytes into the function; file and line: 0/'' if unknown."""

    pc: int
    module: str
    function: str
    offset: int
    file: str = ""
    line: int = 0


class Module(NamedTuple):
    """An ELF object in an instance's memory. base: load bias, bytes."""

    uuid: UUID
    base: int
    size: int


class Trace(Protocol):
    """What a TA built for function tracing recorded."""

    def take(self, *, first: bool) -> bytes:
        """What was recorded since the last time; first: with the text that such a file begins with."""


class Sanitizer(Protocol):
    """Of a TA that checks its own accesses."""

    def heard(self, text: str) -> None:
        """What the TA logged, which may hold a report."""

    @property
    def report(self) -> str:
        """The latest report in words, empty: there was none."""


class Program(Protocol):
    """A TA linked into one address space."""

    entry: int
    """Address of the entry function; bit 0 set: T32."""

    @property
    def trace(self) -> Trace | None:
        """None: it records nothing."""

    @property
    def sanitizer(self) -> Sanitizer | None:
        """None: it has none."""

    def add_stack(self, va: int, size: int) -> None:
        """The stack lies there; before the program runs. TeeError; SpaceError."""

    @property
    def modules(self) -> Sequence[Module]: ...

    def dlopen(self, uuid: UUID, flags: int) -> None:
        """Load a library and its dependencies at run time (System PTA command 10). TeeError if it cannot be."""

    def dlsym(self, uuid: UUID, name: str) -> int:
        """Address of a symbol of library `uuid` (System PTA command 11); TeeError(ITEM_NOT_FOUND)."""

    def backtrace(self, registers: dict[str, int]) -> Sequence[Frame]:
        """Unwind from `registers`; innermost first. Never raises: an unreadable stack ends it."""


class Image(Protocol):
    """A verified, parsed TA, not yet in memory. Safe to share between instances and threads."""

    uuid: UUID
    arch: Arch
    flags: int
    """TA_FLAG_*"""
    stack_size: int
    """Bytes."""
    version: int
    digest: bytes
    """SHA-256 of the image that the signature covers."""

    def link(self, space: AddressSpace) -> Program:
        """Map, relocate and protect the TA and its dependencies; TeeError if it cannot be linked."""


class ImageSource(Protocol):
    def find(self, uuid: UUID) -> Image:
        """TeeError(ITEM_NOT_FOUND) when nobody has it, TeeError(SECURITY) when it is refused."""

    def digest(self, uuid: UUID) -> bytes:
        """SHA-256 of the image that the signature of TA or library `uuid` covers; TeeError as `find`."""
