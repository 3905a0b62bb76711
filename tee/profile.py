"""Profiles of TAs on their way out: samples of where a TA runs, and its records of calls.

OP-TEE keeps sampling and the number of the trace's file with a session (core/include/kernel/ts_manager.h), of which
only the first knows them. Here they are the instance's, so that all its sessions count and go into one file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.errors import TeeError
from tee.normal import ProfileKind

if TYPE_CHECKING:
    from uuid import UUID

    from south.platform import Console, Cpu
    from tee.normal import Profiles
    from tee.ports import Program, Trace

NOMINAL_RATE = 1000
"""Samples a second, where too few were taken to say."""
_WORD = 1 << 32


class ProfileSink:
    """Where profiles of a world's TAs go. profiles: None: nobody takes them, which the log says once."""

    def __init__(self, profiles: Profiles | None, console: Console) -> None:
        self._profiles = profiles
        self._console = console
        self._complained = False

    def append(self, kind: ProfileKind, uuid: UUID, data: bytes, file: int) -> int:
        """As `Profiles.append`."""
        try:
            if self._profiles is None:
                raise TeeError(results.NOT_SUPPORTED, "--profile-dir names a folder for it")
            return self._profiles.append(kind, uuid, data, file)
        except TeeError as error:
            if not self._complained:
                self._complained = True
                self._console.write(f"litebox: a profile of TA {uuid} is lost: {error.detail or error}\n")
            error.logged = True
            raise


class Sampling:
    """Samples of one instance, which are taken in the TA's memory."""

    def __init__(self, cpu: Cpu, program: Program) -> None:
        self._cpu = cpu
        self._program = program
        self._on = False

    def start(self, va: int, size: int, offset: int, scale: int) -> None:
        """va, size: of 16-bit counters. offset: 32 bits of the address that the first counts; scale: 65536: a counter
        for two bytes of code. TeeError(BAD_STATE): it runs already.
        """
        if self._on:
            raise TeeError(results.BAD_STATE, "sampling runs already")
        base = self._program.modules[0].base
        offset += base - base % _WORD  # all of OP-TEE's addresses have 32 bits
        self._cpu.sample(va, size // 2, offset, scale)
        self._on = True

    def stop(self) -> int:
        """Samples a second. TeeError(BAD_STATE): it does not run."""
        if not self._on:
            raise TeeError(results.BAD_STATE, "sampling does not run")
        self._on = False
        taken, seconds = self._cpu.sampled()
        return round(taken / seconds) if taken and seconds else NOMINAL_RATE


class TraceWriter:
    """Passes on what an instance recorded, after each of its entries (CFG_FTRACE_DUMP_EVERY_ENTRY)."""

    def __init__(self, trace: Trace, uuid: UUID, sink: ProfileSink) -> None:
        self._trace = trace
        self._uuid = uuid
        self._sink = sink
        self._file = 0
        self._lost = False

    def dump(self) -> None:
        """Never raises TeeError: a TA lives on without its trace."""
        if self._lost:
            return
        data = self._trace.take(first=not self._file)
        if not data:
            return
        try:
            self._file = self._sink.append(ProfileKind.FTRACE, self._uuid, data, self._file)
        except TeeError:
            self._lost = True
