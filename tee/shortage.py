"""What it means to a TA that the host runs short of something, or that a call of the host's fails."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from tee.abi import results

if TYPE_CHECKING:
    from tee.abi.results import Result

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_MEMORY = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EAGAIN})
STORAGE_CALLS = range(41, 54)
"""Numbers of system calls on whose STORAGE_NOT_AVAILABLE libutee does not panic."""

HOST_RESULTS = frozenset({results.STORAGE_NO_SPACE, results.STORAGE_NOT_AVAILABLE, results.OUT_OF_MEMORY})
"""Results of these calls whose reason stands in the log."""
PTA_RESULTS = HOST_RESULTS | {results.GENERIC}
"""The same of what is no system call of storage: pseudo TAs and the loading of a TA."""


def is_short(problem: OSError) -> bool:
    """Whether the host runs short of something, which is not the fault of whom it was asked about."""
    return problem.errno in _NO_SPACE | _NO_MEMORY - {errno.EAGAIN}


def result_of(problem: OSError | MemoryError, otherwise: Result = results.GENERIC) -> Result:
    """STORAGE_NO_SPACE, OUT_OF_MEMORY, or `otherwise`."""
    number = problem.errno if isinstance(problem, OSError) else errno.ENOMEM
    if number in _NO_SPACE:
        return results.STORAGE_NO_SPACE
    return results.OUT_OF_MEMORY if number in _NO_MEMORY else otherwise


def text_of(problem: OSError | MemoryError) -> str:
    """One line: what failed, on which file if there is one."""
    if not isinstance(problem, OSError):
        return str(problem) or "out of memory"
    text = problem.strerror or str(problem)
    return text if problem.filename is None else f"{text}: {problem.filename!r}"
