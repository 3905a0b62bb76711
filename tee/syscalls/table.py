"""The system-call table of TAs: all 56 calls of OP-TEE 4.5, and the rule for every other number.

Source: optee_os lib/libutee/include/tee_syscall_numbers.h, core/kernel/scall.c (`tee_syscall_table`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.syscalls import core, crypto, properties, storage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from north.syscalls.declare import Syscall

SCN_MAX = 70
"""TEE_SCN_MAX, the highest number."""

SVC_MAX_ARGS = 8
"""TEE_SVC_MAX_ARGS: a call announcing more argument words (32-bit TAs do) is TEE_ERROR_GENERIC."""

DEPRECATED = range(55, 70)
"""The Secure Element API that was removed; its numbers stay taken."""

UNKNOWN = results.NOT_SUPPORTED
"""What any number outside `TABLE` answers (`syscall_not_supported`)."""


def _merge(*groups: Iterable[Syscall]) -> dict[int, Syscall]:
    table: dict[int, Syscall] = {}
    for rows in groups:
        for row in rows:
            if table.setdefault(row.number, row) is not row:
                raise ValueError(f"system call {row.number} is declared twice")
    return dict(sorted(table.items()))


TABLE: dict[int, Syscall] = _merge(core.ROWS, crypto.ROWS, properties.ROWS, storage.ROWS)
