"""What goes wrong with the machine rather than with its guest."""

from __future__ import annotations


class MachineError(RuntimeError):
    """QEMU or something it needs is missing or refuses to work; the message says what to do."""
