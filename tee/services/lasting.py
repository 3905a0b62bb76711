"""What takes long in C, and is stopped and taken up again as the TA's own code is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tee.abi import results
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tee.services.context import CryptoTask

_T = TypeVar("_T")


def to_its_end(task: CryptoTask, compute: Callable[[], _T]) -> _T:
    """The result of `compute`, called again whenever it ended with CANCEL and the TA may go on.

    A TA that may not dies before it could see the CANCEL that is raised then. The cancellation of GP is none of this:
    it only raises the TA's flag.
    """
    while True:
        try:
            return compute()
        except TeeError as error:
            if error.result != results.CANCEL:
                raise
            task.go_on()
