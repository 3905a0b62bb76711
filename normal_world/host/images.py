"""An image source that remembers why images were not to be had: the world passes on no more than a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.text import visible_line
from tee.abi.results import ITEM_NOT_FOUND
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from north.memory import AddressSpace
    from ta_loader.image import Debug, TaImage
    from ta_loader.source import Loader
    from tee.ports import Program


class ToldProblems(list[tuple["UUID", "TeeError"]]):
    """Keeps nothing: why an image was refused is told, once each. tell: called with a line."""

    MOST = 256
    """Clients choose what they ask for; after as many different refusals no more are told."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell
        self._told: set[str] = set()

    def append(self, problem: tuple[UUID, TeeError]) -> None:
        uuid, error = problem
        text = f"litebox: TA {uuid}: {visible_line(error.detail or str(error))}\n"
        if error.result == ITEM_NOT_FOUND or text in self._told or len(self._told) >= self.MOST:
            return
        self._told.add(text)
        self._tell(text)


class WatchedSource:
    """`tee.ports.ImageSource` over a loader. problems: (TA that was asked for, why not), oldest first.

    debug: finds the unstripped ELF files that a program's backtraces should use.
    """

    def __init__(self, loader: Loader, debug: Debug | None = None) -> None:
        self._loader = loader
        self._debug = debug
        self.problems: list[tuple[UUID, TeeError]] = []

    def find(self, uuid: UUID) -> WatchedImage:
        try:
            return WatchedImage(self._loader.find(uuid), self._debug, self.problems)
        except TeeError as problem:
            self.problems.append((uuid, problem))
            raise

    def digest(self, uuid: UUID) -> bytes:
        return self._loader.digest(uuid)


class WatchedImage:
    """`tee.ports.Image`."""

    def __init__(self, image: TaImage, debug: Debug | None, problems: list[tuple[UUID, TeeError]]) -> None:
        self._image = image
        self._debug = debug
        self._problems = problems
        self.uuid = image.uuid
        self.arch = image.arch
        self.flags = image.flags
        self.stack_size = image.stack_size
        self.version = image.version
        self.digest = image.digest

    def link(self, space: AddressSpace) -> Program:
        try:
            program = self._image.link(space)
        except TeeError as problem:
            self._problems.append((self.uuid, problem))
            raise
        program.debug = self._debug
        return program
