"""The doorbell: bytes between the shim and this process, and calls through slots in the guest's RAM.

The guest can write to the slots and to the UART itself. A byte that makes no sense is ignored; a slot with rubbish in
it is a call with rubbish for arguments. Nothing read here sizes or addresses anything of the host's.

One thread waits on the line: the leader. When a call comes it lets another wait, and serves the call itself, so that no
call changes threads. Threads are started when there is nobody left to lead.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
import traceback
from typing import TYPE_CHECKING

from south.qemu_arm import layout

if TYPE_CHECKING:
    from south.platform import Console, Monitor

UNKNOWN_FUNCTION = 0xFFFF_FFFF
"""-1 of 32 bits: what a call is answered that nobody answers otherwise (SMCCC, DEN0028 §7.1)."""

MAX_THREADS = 64
"""Calls that run at once, but for one of each CPU; with so many, the leader serves and nobody listens meanwhile."""

_CONFIG = layout.CONFIG_BASE - layout.SHIM_BASE
_SLOTS = layout.SLOTS_BASE - layout.SHIM_BASE
_MASK = (1 << 64) - 1

Registers = tuple[int, int, int, int]


class _Answer:
    """The way back of one request."""

    __slots__ = ("_bell", "_cpu", "_sequence", "given", "life")

    def __init__(self, bell: Doorbell, cpu: int, sequence: int, life: int) -> None:
        self._bell = bell
        self._cpu = cpu
        self._sequence = sequence
        self.life = life
        self.given = False

    def __call__(self, registers: Registers) -> None:
        """RuntimeError if it was given before."""
        self._bell._give(self, self._cpu, self._sequence, registers)


class Doorbell:
    """One machine's line. line: our end of the socket pair; shim: `GuestMemory.shim`; log: our own failures."""

    def __init__(self, line: socket.socket, shim: memoryview, cpus: int, log: Console) -> None:
        self._line = line
        self._bytes = shim
        self._words = shim.cast("I")
        self._cpus = cpus
        self._log = log
        self._unread = bytearray()
        self._lead = threading.Lock()
        self._lock = threading.Lock()
        """Guards what follows, and the order of writes to the slots."""
        self._fence = threading.Lock()
        self._life = 0
        """Counts the starts of the guest: an answer to an earlier one goes nowhere."""
        self._waiting: list[_Answer | None] = [None] * cpus
        self._notify = False
        self._told = False
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._ended = threading.Event()

    # --- for the secure world

    def notifications(self, on: bool) -> None:
        with self._lock:
            self._set_notify(on)

    def notify(self) -> None:
        with self._lock:
            if self._notify:
                self._ring(layout.RING_NOTIFY)

    def serve(self, monitor: Monitor, settle: float) -> None:
        """Until the other end is closed; then the monitor is reset once more and the threads end.

        settle: seconds that calls which still run get to come back, all together.
        """
        with self._lock:
            self._start(monitor)
        self._ended.wait()
        self._forget()
        self._guarded(monitor.reset)
        with self._lock:
            threads = list(self._threads)
        end = time.monotonic() + settle
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    # --- leader and followers

    def _start(self, monitor: Monitor) -> None:
        """Under the lock."""
        self._idle += 1
        thread = threading.Thread(target=self._work, args=(monitor,), name="litebox-doorbell", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, monitor: Monitor) -> None:
        while True:
            with self._lead:
                job = self._next(monitor)
            if job is None:
                return
            self._call(monitor, *job)
            with self._lock:
                self._idle += 1

    def _next(self, monitor: Monitor) -> tuple[int, tuple[int, ...], _Answer] | None:
        """As leader: what comes in, until there is a call that may block; None at the end."""
        while True:
            if not self._unread:
                try:
                    received = self._line.recv(4096)
                except OSError:
                    received = b""
                if not received:
                    self._ended.set()
                    return None
                self._unread += received
            byte = self._unread.pop(0)
            kind, cpu = byte & 0xE0, byte & 0x1F
            if byte == layout.RING_BOOT:
                self._boot(monitor)
            elif byte == layout.RING_FATAL:
                self._fatal()
            elif cpu >= self._cpus:
                continue
            elif kind == layout.RING_INTERRUPTED:
                if self._waiting[cpu] is not None:
                    self._guarded(monitor.interrupted, cpu)
            elif kind == layout.RING_CALL:
                job = self._request(cpu)
                if job is None:
                    continue
                if not self._may_block(monitor, job[1][0]) or not self._delegate(monitor):
                    self._call(monitor, *job)
                else:
                    return job

    def _may_block(self, monitor: Monitor, function: int) -> bool:
        blocks = True  # What it fails to tell costs a thread, no more.

        def ask() -> None:
            nonlocal blocks
            blocks = monitor.may_block(function)

        self._guarded(ask)
        return blocks

    def _delegate(self, monitor: Monitor) -> bool:
        """Whether somebody else leads once this thread lets go."""
        with self._lock:
            self._idle -= 1
            if not self._idle:
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                if len(self._threads) >= MAX_THREADS + self._cpus:
                    self._idle += 1
                    return False
                self._start(monitor)
            return True

    # --- what the bytes mean

    def _request(self, cpu: int) -> tuple[int, tuple[int, ...], _Answer] | None:
        base = _SLOTS + cpu * layout.SLOT_SIZE
        registers = struct.unpack_from("=8Q", self._bytes, base + layout.SLOT_IN)
        sequence = self._words[(base + layout.SLOT_SEQUENCE) // 4]
        with self._lock:
            if self._waiting[cpu] is not None:
                return None  # A CPU that waits cannot call: the kernel rings for itself.
            answer = self._waiting[cpu] = _Answer(self, cpu, sequence, self._life)
        return cpu, registers, answer

    def _call(self, monitor: Monitor, cpu: int, registers: tuple[int, ...], answer: _Answer) -> None:
        if answer.life != self._life:
            return
        if not self._guarded(monitor.call, cpu, registers, answer) and not answer.given:
            answer((UNKNOWN_FUNCTION, 0, 0, 0))

    def _give(self, answer: _Answer, cpu: int, sequence: int, registers: Registers) -> None:
        out = struct.pack("=4Q", *(value & _MASK for value in registers))
        base = _SLOTS + cpu * layout.SLOT_SIZE
        with self._lock:
            if answer.given:
                raise RuntimeError(f"CPU {cpu} was answered twice")
            answer.given = True
            if answer.life != self._life:
                return
            self._waiting[cpu] = None
            self._bytes[base + layout.SLOT_OUT : base + layout.SLOT_OUT + len(out)] = out
            self._barrier()
            self._words[(base + layout.SLOT_DONE) // 4] = sequence
            self._barrier()
            if self._words[(base + layout.SLOT_SLEEP) // 4]:
                self._ring(layout.RING_WAKE)

    def _barrier(self) -> None:
        """Accesses to the guest's RAM before it are seen before those after it.

        Taking a lock is a locked instruction on x86, which is all of it; elsewhere a release and the acquisition that
        follows it keep their order.
        """
        with self._fence:
            pass
        with self._fence:
            pass

    def _ring(self, byte: int) -> None:
        """Never blocks: a line so full that nothing goes in has a byte pending already, which wakes as well."""
        try:
            self._line.send(bytes((byte,)), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            pass

    def _set_notify(self, on: bool) -> None:
        self._notify = on
        self._words[(_CONFIG + layout.CONFIG_NOTIFY) // 4] = int(on)

    def _forget(self) -> None:
        with self._lock:
            self._life += 1
            self._waiting = [None] * self._cpus
            self._told = False
            self._set_notify(False)

    def _boot(self, monitor: Monitor) -> None:
        """The guest starts. It waits until CONFIG_READY is set, so that nothing of the old life reaches the new one."""
        self._forget()
        self._bytes[_CONFIG : _SLOTS + layout.MAX_CPUS * layout.SLOT_SIZE] = bytes(
            _SLOTS - _CONFIG + layout.MAX_CPUS * layout.SLOT_SIZE
        )
        self._guarded(monitor.reset)
        self._barrier()
        self._words[(_CONFIG + layout.CONFIG_READY) // 4] = 1

    def _fatal(self) -> None:
        """Told once a start: the guest can ring this, too."""
        if self._told:
            return
        self._told = True
        slots = (struct.unpack_from("=4Q", self._bytes, _SLOTS + cpu * layout.SLOT_SIZE) for cpu in range(self._cpus))
        states = "; ".join(
            f"CPU {cpu}: ESR {esr:#x} ELR {elr:#x} FAR {far:#x} SPSR {spsr:#x}"
            for cpu, (esr, elr, far, spsr) in enumerate(slots)
        )
        self._log.write(f"litebox: the shim stopped at an exception it does not know; {states}\n")

    def _guarded(self, what: object, *arguments: object) -> bool:
        """Call the monitor; a failure of its own is told, and ends neither this thread nor the machine."""
        try:
            what(*arguments)  # type: ignore[operator]
        except Exception as bug:
            text = "".join(traceback.format_exception(bug))
            self._log.write(f"litebox: internal error behind the doorbell, please report it:\n{text}")
            return False
        return True
