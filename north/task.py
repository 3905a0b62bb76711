"""One thread of one program: it runs guest code and answers what stops it, until an entry ends or the program dies.

System calls that C does not answer stop the engine and come here. Whatever a program does ends in a result that its
personality defines; nothing of it raises out of `run`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from north.errors import BadAddress
from south.platform import Interrupt, TrapKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from north.crash import Death
    from north.personality import Personality
    from north.syscalls.declare import UserMemory
    from south.platform import Clock, Cpu

_CALL = -TrapKind.CALL  # as `Cpu.start` returns it; enum members are slow to look up
_INTERRUPTED = -TrapKind.INTERRUPTED
STOPPED = "the host stopped the call"
_FATAL = Interrupt.KILL | Interrupt.DEADLINE | Interrupt.BUDGET


class Task:
    """cpu: this thread's; memory: the program's, with its rights. One host thread at a time is inside.

    tracing: each call is reported (`Personality.called`), also those that C answers. The personality is an argument of
    each method that needs it, and not kept: a program has its tasks, and objects that hold each other last until Python
    collects.
    """

    __slots__ = ("_args", "_clock", "_deadline", "_ends", "_memory", "_served", "_stack_arguments", "_tracing", "_wake",
                 "cpu", "dead")  # fmt: skip

    def __init__(
        self, cpu: Cpu, memory: UserMemory, clock: Clock, personality: Personality, *, tracing: bool = False
    ) -> None:
        self.cpu = cpu
        self.dead: Death | None = None
        self._memory = memory
        self._clock = clock
        self._served = personality.served
        self._ends = personality.ends
        self._args = cpu.args
        self._stack_arguments = cpu.space.arch.stack_arguments
        self._wake = threading.Event()
        self._deadline: float | None = None
        """Of the entry, seconds of the monotonic clock."""
        self._tracing = tracing
        if tracing:
            cpu.trace_calls(True)

    # --- running

    def limit(self, seconds: float) -> None:
        """The program dies if the entry takes longer."""
        self._deadline = self._clock.monotonic() + seconds
        self.cpu.set_deadline(seconds)

    def run(self, personality: Personality, number: int) -> int | None:
        """Answer what stops the program until an entry ends; its result, None if the program died.

        number: as `Cpu.start` returns it.
        """
        cpu = self.cpu
        ends = self._ends
        answer: Callable[[Personality, int], int] | None = None
        while True:
            if number == _CALL:
                number = cpu.number
            if number >= 0:
                if number in ends:
                    return personality.end(number)
                if answer is None:
                    answer, reply = self._traced if self._tracing else self._serve, cpu.answer
                result = answer(personality, number)
                if self.dead is not None:
                    return None
                number = reply(result)
            elif number == _INTERRUPTED:
                why = cpu.reason
                cpu.acknowledge(why)
                death = self._end_of(why, personality.seconds)
                if death is not None:
                    self.die(personality, death)
                    return None
                number = -cpu.proceed()
            else:
                from north.crash import Death

                self.die(personality, Death.of_trap(TrapKind(-number), cpu))
                return None

    def _end_of(self, why: Interrupt, seconds: float | None) -> Death | None:
        """What an interruption means for the program; None: it goes on."""
        from north.crash import Death  # most programs end well

        if why & Interrupt.KILL:
            return Death("killed", 0, STOPPED)
        if why & (Interrupt.DEADLINE | Interrupt.BUDGET):
            return Death("limit", 0, f"the call ran for more than {seconds} s")
        # A signal: its Python handler has run by now, and did not raise.
        if self.cpu.mid_instruction:
            return Death("killed", 0, "a signal stopped it in the middle of an instruction")
        return None

    def _serve(self, personality: Personality, number: int) -> int:
        """Answer one trapped system call. Never raises for what a program did."""
        try:
            take, decode, handler = self._served[number]
        except KeyError:
            served = personality.serve(number)
            if served is None:
                return personality.unknown(number)
            take, decode, handler = served
        if self._stack_arguments and self.cpu.unreadable:
            return personality.failed(number, BadAddress())
        try:
            if take is not None:
                return handler(personality, *take(self._args)) or 0
            if decode is not None:
                return handler(personality, *decode(self._memory, self.cpu.words())) or 0
            return handler(personality, self._args[0]) or 0
        except Exception as problem:
            return personality.failed(number, problem)

    def _traced(self, personality: Personality, number: int) -> int:
        """Answer one trapped system call, by C or Python, and report it."""
        row = personality.row(number)
        words = self.cpu.words()
        texts = row.show(self._memory, words) if row else tuple(f"{w:#x}" for w in words)
        start = self._clock.monotonic()
        native = self.cpu.serve()
        result = self._serve(personality, number) if native is None else native
        personality.called(row, number, words, texts, result, start, native is not None)
        return result

    # --- dying

    def die(self, personality: Personality, death: Death) -> None:
        """The first one counts."""
        if self.dead is None:
            self.dead = death
            personality.died(death)

    def kill(self) -> None:
        """From any thread: end the entry that runs, and the program with it."""
        self.cpu.interrupt(Interrupt.KILL)
        self._wake.set()

    # --- waiting

    def wake(self) -> None:
        """From any thread: `wait` looks again at what it waits for."""
        self._wake.set()

    def wait(self, personality: Personality, seconds: float, ends: Callable[[float], float | None]) -> bool:
        """Sleep so long; True if something ended it before.

        ends: called with the time; None: what the caller waits for has come, else when to ask at the latest. The
        entry's limit ends it, too, and a kill, which shows as soon as the guest would run again.
        """
        clock = self._clock
        until = clock.monotonic() + seconds
        while True:
            now = clock.monotonic()
            again = ends(now)
            if again is None:
                return True
            if self._deadline is not None and now >= self._deadline:
                from north.crash import Death

                self.die(personality, Death("limit", 0, f"the call took more than {personality.seconds} s"))
                return True
            if self.cpu.reason & Interrupt.KILL:
                return True
            if now >= until:
                return False
            first = min(until, again) if self._deadline is None else min(until, again, self._deadline)
            self._wake.wait(max(0.0, first - now))
            self._wake.clear()

    def go_on(self) -> bool:
        """What C computed for a call was told to stop: whether the program may go on all the same.

        As in `run`, a signal whose Python handler did not raise is no reason to stop; any other still pends in the CPU,
        so `run` sees it before the program's next instruction.
        """
        why = self.cpu.reason
        if why & _FATAL:
            return False
        self.cpu.acknowledge(why)
        return True
