"""The Unicorn engine: AArch64 and AArch32 guests in User mode, through our own C extension."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from south.engine.binding import check, ffi, lib, load_library
from south.engine.inspect import ACCESS, Inspection
from south.engine.regions import RegionTable
from south.platform import (
    Access,
    Arch,
    Call,
    Context,
    EngineError,
    Fault,
    Interrupt,
    TrapKind,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from south.platform import Pages

_RESUME = lib.lb_cpu_resume
_UNPACK = ffi.unpack
_BROKEN = 1000  # LB_ERR_BROKEN of contain.h
_WORD = (1 << 64) - 1
_KINDS = (TrapKind.ERROR, *TrapKind)  # by value; 0 never happens


@ffi.def_extern()  # type: ignore[untyped-decorator]
def lb_python_block(owner: Any, pc: int, size: int) -> None:
    for callback in tuple(ffi.from_handle(owner).block_callbacks):
        callback(pc, size)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def lb_python_access(owner: Any, watch: int, kind: int, address: int, size: int, value: int) -> None:
    callback = ffi.from_handle(owner).access_callbacks.get(watch)
    if callback is not None:
        callback(ACCESS.get(kind, Access.NONE), address, size, value)


def _description(arch: Arch) -> Any:
    """Its `struct lb_arch`; EngineError if this engine has none."""
    description = lib.lb_arch_named(arch.value.encode())
    if description == ffi.NULL:
        raise EngineError(f"this engine has no processors for {arch.value}")
    return description


def models(arch: Arch) -> list[str]:
    """Names of the processors that a guest may be given, the default first."""
    table = _description(arch).models
    out: list[str] = []
    while table[len(out)].name != ffi.NULL:
        out.append(ffi.string(table[len(out)].name).decode())
    return out


class Snapshot:
    """Registers of a CPU and private memory of its space at one moment; regions must be the same at restore."""

    __slots__ = ("context", "cpu", "memory")

    def __init__(self, cpu: UnicornCpu, context: Any, memory: object) -> None:
        self.cpu = cpu
        self.context = context
        self.memory = memory


class UnicornCpu(Inspection):
    """`south.platform.Cpu` and `Inspect` on Unicorn. One thread inside at a time; `interrupt` is for any."""

    def __init__(self, space: UnicornSpace) -> None:
        self.arch = space.arch
        self.space = space
        description = _description(space.arch)
        error = ffi.new("int *")
        raw = lib.lb_cpu_new(space.raw, space.model, error)
        if raw == ffi.NULL:
            how = f" ({ffi.string(lib.lb_how_it_ended()).decode()})" if error[0] == _BROKEN else ""
            check(error[0] or 1, f"cannot make a CPU{how}")
        super().__init__(raw, space.arch.code_unit)
        names = [ffi.string(description.names[i]).decode() for i in range(description.context_count)]
        self.names = names[: description.saved_count]
        self._all_names = tuple(names)
        self._vectors_size: int = description.vectors_size
        self._handle = ffi.new_handle(self)
        raw.hook_owner = self._handle
        self.block_callbacks: list[Callable[[int, int], None]] = []
        self.access_callbacks: dict[int, Callable[[Access, int, int, int], None]] = {}
        self._covers: list[bytearray] = []
        self._call = raw.call
        self._args = raw.call.arg
        self.args = memoryview(ffi.buffer(raw.call.arg)).cast("Q")
        self.start: Callable[[int, int, int, int, int, int], int] = partial(lib.lb_cpu_start, raw)
        self.answer: Callable[[int], int] = partial(lib.lb_cpu_answer, raw)

    # --- running

    def bind(self, number: int, handler: int, owner: int, args: int = 8) -> None:
        check(lib.lb_cpu_bind(self._raw, number, handler, owner, args), f"cannot bind system call {number}")

    def enter(self, pc: int, sp: int, args: Sequence[int]) -> TrapKind:
        kind: TrapKind = _KINDS[lib.lb_cpu_enter(self._raw, pc, sp, *args)]
        return kind

    def resume(self, result: int) -> TrapKind:
        kind: TrapKind = _KINDS[_RESUME(self._raw, result)]
        return kind

    def proceed(self) -> TrapKind:
        kind: TrapKind = _KINDS[lib.lb_cpu_proceed(self._raw)]
        return kind

    @property
    def number(self) -> int:
        """System-call number of the trapped call; cheaper than `call()`."""
        number: int = self._call.number
        return number

    @property
    def first(self) -> int:
        """First argument of the trapped call."""
        word: int = self._args[0]
        return word

    def words(self) -> tuple[int, ...]:
        """The eight argument words of the trapped call; cheaper than `call()`."""
        return tuple(_UNPACK(self._args, 8))

    def trace_calls(self, on: bool) -> None:
        """Stop at every system call, also those with a C handler; `serve` then asks that handler."""
        self._raw.ask_always = on

    def serve(self) -> int | None:
        """Let the C handler answer the trapped call: its result, or None if Python must."""
        return int(self._call.result) if lib.lb_cpu_serve(self._raw) else None

    @property
    def unreadable(self) -> bool:
        """The trapped call's stack arguments lie in memory the guest may not read."""
        return bool(self._raw.call_unreadable)

    def call(self) -> Call:
        return Call(self._call.number, tuple(self._args), self._call.pc)

    def fault(self) -> Fault:
        f = self._raw.fault
        return Fault(ACCESS.get(f.access, Access.NONE), f.address, f.pc, f.exception)

    def error_text(self) -> str:
        """What the engine says of a TrapKind.ERROR."""
        if self._raw.broken:
            return f"Unicorn failed inside: {ffi.string(self._raw.broken_how).decode()}"
        return str(ffi.string(lib.lb_error_text(self._raw.fault.error)).decode())

    @property
    def guest(self) -> int:
        return int(lib.lb_guest_at(self._raw))

    @property
    def reason(self) -> Interrupt:
        return Interrupt(lib.lb_why(self._raw))

    def interrupt(self, why: Interrupt) -> None:
        lib.lb_interrupt(self._raw, int(why))

    def acknowledge(self, why: Interrupt) -> None:
        lib.lb_acknowledge(self._raw, int(why))

    @property
    def mid_instruction(self) -> bool:
        """The last interruption may have split an instruction: `proceed` could repeat its access."""
        return bool(self._raw.mid_instruction)

    def set_deadline(self, seconds: float | None) -> None:
        lib.lb_set_deadline(self._raw, -1 if seconds is None else max(0, int(seconds * 1e9)))

    # --- looking inside

    def registers(self) -> dict[str, int]:
        values = ffi.new("uint64_t[]", len(self.names))
        lib.lb_cpu_registers(self._raw, values)
        return dict(zip(self.names, values, strict=True))

    def context(self) -> Context:
        words, vectors = ffi.new("uint64_t[]", len(self._all_names)), bytearray(self._vectors_size)
        check(lib.lb_cpu_context(self._raw, words, ffi.from_buffer(vectors)), "cannot read the registers")
        return Context(self.arch, self._all_names, tuple(words), bytes(vectors))

    def set_context(self, context: Context) -> None:
        sizes = len(context.words), len(context.vectors)
        if context.arch is not self.arch or sizes != (len(self._all_names), self._vectors_size):
            raise ValueError(f"not a context of {self.arch.value}")
        words = ffi.new("uint64_t[]", [word & _WORD for word in context.words])
        check(lib.lb_cpu_set_context(self._raw, words, ffi.from_buffer(context.vectors)), "cannot set the registers")

    def set_register(self, name: str, value: int) -> None:
        check(lib.lb_cpu_set_register(self._raw, self.names.index(name), value), f"cannot set {name}")

    def snapshot(self) -> Snapshot:
        """State to go back to: the registers, and the memory of its space."""
        context = lib.lb_cpu_save(self._raw)
        if context == ffi.NULL:
            raise EngineError("cannot save the CPU's context: out of memory")
        return Snapshot(self, ffi.gc(context, lib.lb_context_free), self.space.snapshot())

    def restore(self, snapshot: object) -> None:
        """Go back to what `snapshot` of this CPU gave."""
        if not isinstance(snapshot, Snapshot) or snapshot.cpu is not self:
            raise TypeError("restore() wants what snapshot() of this CPU gave")
        self.space.restore(snapshot.memory)
        check(lib.lb_cpu_load(self._raw, snapshot.context), "cannot restore the CPU's context")

    def on_block(self, callback: Callable[[int, int], None] | None) -> Callable[[], None]:
        """Call back with (pc, size) per basic block, beside those there are; None: none any more.

        Returns what takes this one back.
        """
        if callback is None:
            self.block_callbacks.clear()
        else:
            lib.lb_block_callback = lib.lb_python_block
            self.block_callbacks.append(callback)
        check(lib.lb_hook_block(self._raw, bool(self.block_callbacks)), "cannot hook blocks")

        def remove() -> None:
            if callback in self.block_callbacks:
                self.block_callbacks.remove(callback)
                if not self.block_callbacks and self._raw != ffi.NULL:
                    lib.lb_hook_block(self._raw, False)

        return remove

    def on_access(
        self, begin: int, end: int, callback: Callable[[Access, int, int, int], None] | None
    ) -> Callable[[], None]:
        """Call back with (access, address, size, value) for data accesses that touch the guest's [begin, end).

        Beside those there are, at most 16; None: none any more. Returns what takes this one back.
        """
        if callback is None:
            for watch in list(self.access_callbacks):
                self._unwatch(watch)
            return lambda: None
        watch = self.take_watch()
        lib.lb_access_callback = lib.lb_python_access
        check(lib.lb_hook_access(self._raw, watch, begin, end), "cannot hook accesses")
        self.access_callbacks[watch] = callback
        self.used_watches.add(watch)
        return partial(self._unwatch, watch)

    def _unwatch(self, watch: int) -> None:
        if self.access_callbacks.pop(watch, None) is not None and self._raw != ffi.NULL:
            self.used_watches.discard(watch)
            lib.lb_hook_access(self._raw, watch, 0, 0)

    def cover(self, va: int, size: int) -> bytearray:
        """Collect executed code of [va, va + size) in C, beside other areas: one byte per
        `Arch.code_unit` bytes, 1 once executed.
        """
        covered = bytearray(-(-size // self.arch.code_unit))
        check(
            lib.lb_hook_cover(self._raw, va, size, ffi.from_buffer("uint8_t[]", covered), ffi.NULL),
            "cannot collect coverage",
        )
        self._covers.append(covered)
        return covered

    def uncover(self, covered: bytearray | None = None) -> None:
        """End what `cover` gave, or all."""
        area = ffi.NULL if covered is None else ffi.from_buffer("uint8_t[]", covered)
        check(lib.lb_hook_uncover(self._raw, area), "cannot end coverage")
        self._covers = [] if covered is None else [each for each in self._covers if each is not covered]

    def set_budget(self, instructions: int) -> None:
        """Interrupt with BUDGET before the basic block that would exceed that many instructions; 0: no limit."""
        check(lib.lb_hook_budget(self._raw, instructions), "cannot count instructions")

    def sample(self, va: int, slots: int, offset: int, scale: int) -> None:
        """Count about each millisecond of running in a histogram of the guest's: `slots` words of 16 bits at `va`.

        The word of a program counter is number (pc - offset) / 2 * scale / 65536.
        """
        check(lib.lb_sample_start(self._raw, va, slots, offset, scale), "cannot sample")

    def sampled(self) -> tuple[int, float]:
        """End `sample`: how many samples there were, and the seconds that the guest ran meanwhile."""
        taken, ran = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        lib.lb_sample_stop(self._raw, taken, ran)
        return taken[0], ran[0] / 1e9

    def join(self, turn: Turn | None) -> None:
        """Run in turns with the others under `turn`; None: freely."""
        lib.lb_turn_join(self._raw, turn.raw if turn else ffi.NULL)
        self._turn = turn

    def close(self) -> None:
        if self._raw != ffi.NULL:
            self.space.cpus.remove(self)
            lib.lb_cpu_free(self._raw)
            self._raw = ffi.NULL
            self._handle = None  # it refers to this object: a cycle that only a collection would end
            self.block_callbacks, self.access_callbacks = [], {}


class UnicornSpace(RegionTable):
    """`south.platform.Space` on Unicorn. model: an index of `models`, which its CPUs are."""

    def __init__(self, arch: Arch, arena: Pages, model: int) -> None:
        super().__init__(arch, _description(arch), arena)
        self.model = model
        self.cpus: list[UnicornCpu] = []
        """Those that are not closed."""

    def cpu(self) -> UnicornCpu:
        """A CPU more. EngineError, also while the space's only CPU runs."""
        cpu = UnicornCpu(self)
        self.cpus.append(cpu)
        return cpu

    def close(self) -> None:
        """With all its CPUs; nobody is inside one."""
        for cpu in tuple(self.cpus):
            cpu.close()
        super().close()


class Turn:
    """CPUs that share a writable page run in turns by time slice (csrc/turns.c)."""

    __slots__ = ("raw",)

    def __init__(self) -> None:
        self.raw = ffi.gc(lib.lb_turn_new(), lib.lb_turn_free)


class UnicornEngine:
    """`south.platform.Engine`. Loads the library when the first space is made.

    model: of the processors, by a name of `models`; an architecture that has none of that name gives its default.
    "": the value of $LITEBOX_CPU, or the default. EngineError for a name that no architecture has.
    """

    def __init__(self, model: str = "") -> None:
        self._model = model or os.environ.get("LITEBOX_CPU", "")
        if self._model:
            known = sorted({name for arch in Arch for name in models(arch)})
            if self._model not in known:
                raise EngineError(f"there is no processor {self._model!r}; there are {', '.join(known)}")

    def space(self, arch: Arch, arena: Pages) -> UnicornSpace:
        known = models(arch)
        load_library()
        return UnicornSpace(arch, arena, known.index(self._model) if self._model in known else 0)

    def turn(self) -> Turn:
        return Turn()


def watch_signals(fd: int) -> None:
    """Interrupt every running guest with SIGNAL when a byte arrives on non-blocking `fd`; -1: stop."""
    lib.lb_watch_signals(fd)
