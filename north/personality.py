"""What a task asks of the personality whose program it runs."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from north.crash import Death
    from north.syscalls.declare import Syscall

Served = tuple["Callable[[memoryview], tuple[int, ...]] | None", "Callable[..., Sequence[Any]] | None",
               "Callable[..., int | None]"]  # fmt: skip
"""What takes the arguments from `Cpu.args` if each is a word that goes to the handler as it is; the decoder, if one is
not; the handler. Neither: the first word is all there is. The handler's first argument is the `Personality`."""


class Personality(Protocol):
    """One program's: its calls, how a failure becomes a result, what ends an entry. Handlers get it first."""

    @property
    def ends(self) -> frozenset[int]:
        """Numbers of the calls that end an entry."""

    @property
    def served(self) -> dict[int, Served]:
        """By number, the calls that came so far; all programs of a personality share it."""

    @property
    def seconds(self) -> float | None:
        """The limit of an entry, None if there is none."""

    def end(self, number: int) -> int | None:
        """The result of the entry that this call ends; None: the program dies of it (`Task.die`)."""

    def row(self, number: int) -> Syscall | None:
        """The declaration of a call, None if there is no such call."""

    def serve(self, number: int) -> Served | None:
        """How a call is answered, from now on in `served`, too; None if there is no such call."""

    def unknown(self, number: int) -> int:
        """The result of a call that is in no table."""

    def failed(self, number: int, problem: Exception) -> int:
        """The result of a call whose handler raised; of any kind, for the host and other programs go on."""

    def called(
        self,
        row: Syscall | None,
        number: int,
        words: tuple[int, ...],
        texts: tuple[str, ...],
        result: int,
        start: float,
        native: bool,
    ) -> None:
        """After each call of a task that traces. start: seconds, monotonic; native: answered in C."""

    def died(self, death: Death) -> None:
        """The program has; once."""


def serving(row: Syscall, handler: Callable[..., int | None]) -> Served:
    """How a declared call is served by its handler."""
    plain, count = all(arg.plain for arg in row.args), len(row.args)
    take = Struct(f"={count}Q").unpack_from if plain and count != 1 else None
    return take, None if plain else row.decode, handler


def unserved(row: Syscall, answer: Callable[[Syscall, Any], int]) -> Served:
    """How a declared call is answered that nothing serves. answer: is given the row and the personality."""

    def handler(personality: Any, *_: object) -> int:
        return answer(row, personality)

    return serving(row, handler)
