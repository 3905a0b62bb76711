"""Symbolised backtraces: of a TA that panicked here, and of OP-TEE logs from boards and QEMU.

`unwind.backtrace` walks a stopped program's stack, `symbols` names functions and source lines, `log` adds
those names to the text that OP-TEE prints for aborts and panics. ELF files, unwind tables, stacks and logs
are all hostile: whatever they hold, the answer is a bounded list, never an exception.
"""

from __future__ import annotations

from .log import symbolise_log
from .unwind import backtrace

__all__ = ["backtrace", "symbolise_log"]
