"""The Unicorn engine: AArch64 and AArch32 guests in User mode, through our own C extension.

Unicorn's library is loaded at run time from the installed `unicorn` wheel, whose Python package
(50 ms to import) is never touched.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from south.platform import (
    Access,
    Arch,
    Call,
    EngineError,
    Fault,
    Interrupt,
    Pages,
    Prot,
    RegionFlag,
    TrapKind,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_unicorn: Any = importlib.import_module("south.engine._unicorn")  # built by build_unicorn.py
lib: Any = _unicorn.lib
ffi: Any = _unicorn.ffi

_CAST = ffi.cast
_BYTES = ffi.typeof("uint8_t *")
_MAP = lib.lb_map
_WRITE = lib.lb_write
_RESUME = lib.lb_cpu_resume
_UNPACK = ffi.unpack
_ACCESS = {16: Access.READ, 17: Access.WRITE, 18: Access.FETCH}  # uc_mem_type
_LIBRARY = os.path.join("unicorn", "lib", "libunicorn.so.2")
_WATCHES = 16  # LB_WATCHES of cpu.h
_BROKEN = 1000  # LB_ERR_BROKEN of contain.h
_KINDS = (TrapKind.ERROR, *TrapKind)  # by value; 0 never happens


def _check(error: int, what: str) -> None:
    if error:
        raise EngineError(f"{what}: {ffi.string(lib.lb_error_text(error)).decode()}")


def find_library() -> str:
    """Path of Unicorn's library: $LITEBOX_UNICORN, or the one in the installed wheel."""
    given = os.environ.get("LITEBOX_UNICORN")
    if given:
        return given
    for base in sys.path:
        path = os.path.join(base, _LIBRARY)
        if os.path.exists(path):
            return path
    raise EngineError("Unicorn's library was not found; install it: pip install 'unicorn>=2.1.4'")


@ffi.def_extern()  # type: ignore[untyped-decorator]
def lb_python_block(owner: Any, pc: int, size: int) -> None:
    for callback in tuple(ffi.from_handle(owner).block_callbacks):
        callback(pc, size)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def lb_python_access(owner: Any, watch: int, kind: int, address: int, size: int, value: int) -> None:
    callback = ffi.from_handle(owner).access_callbacks.get(watch)
    if callback is not None:
        callback(_ACCESS.get(kind, Access.NONE), address, size, value)


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
    """Registers and private memory of a CPU at one moment; regions must be the same at restore."""

    __slots__ = ("context", "copy", "cpu", "size")

    def __init__(self, cpu: UnicornCpu, context: Any, copy: Any, size: int) -> None:
        self.cpu = cpu
        self.context = context
        self.copy = copy
        self.size = size

    def __del__(self) -> None:
        lib.lb_snapshot_free(self.cpu.raw, self.copy, self.size)


class UnicornCpu:
    """`south.platform.Cpu` on Unicorn. Not thread-safe but for `interrupt`: one thread inside at a time."""

    def __init__(self, arch: Arch, arena: Pages, model: str = "") -> None:
        self.arch = arch
        description = _description(arch)
        error = ffi.new("int *")
        (run,) = arena.runs
        self._arena = arena
        index = models(arch).index(model) if model else 0
        raw = lib.lb_cpu_new(description, index, ffi.cast("uint8_t *", run[0]), run[1], error)
        if raw == ffi.NULL:
            how = f" ({ffi.string(lib.lb_how_it_ended()).decode()})" if error[0] == _BROKEN else ""
            _check(error[0] or 1, f"cannot make a CPU{how}")
        self._raw = raw
        self.names = [ffi.string(description.names[i]).decode() for i in range(description.saved_count)]
        self._handle = ffi.new_handle(self)
        raw.hook_owner = self._handle
        self.block_callbacks: list[Callable[[int, int], None]] = []
        self.access_callbacks: dict[int, Callable[[Access, int, int, int], None]] = {}
        self._covers: list[bytearray] = []
        self._kept: dict[int, tuple[Pages, int]] = {}
        self._call = raw.call
        self._args = raw.call.arg
        self.args = memoryview(ffi.buffer(raw.call.arg)).cast("Q")
        self.start: Callable[[int, int, int, int, int, int], int] = partial(lib.lb_cpu_start, raw)
        self.answer: Callable[[int], int] = partial(lib.lb_cpu_answer, raw)

    # --- memory

    def map(self, va: int, size: int, prot: Prot, flags: RegionFlag, pages: Pages, offset: int) -> None:
        runs = pages.runs
        if len(runs) == 1 and offset + size <= runs[0][1]:
            address = _CAST(_BYTES, runs[0][0] + offset)
            error = _MAP(self._raw, va, size, prot, flags, address)
            if error:
                _check(error, f"cannot map {size:#x} bytes at {va:#x}")
            return
        done = 0
        at = 0
        for host, length in pages.runs:
            begin = max(offset, at)
            end = min(offset + size, at + length)
            if begin < end:
                address = ffi.cast("uint8_t *", host + begin - at)
                error = lib.lb_map(self._raw, va + done, end - begin, int(prot), int(flags), address)
                if error:
                    if done:
                        lib.lb_unmap(self._raw, va, done)
                    _check(error, f"cannot map {size:#x} bytes at {va:#x}")
                done += end - begin
            at += length
        if done != size:
            if done:
                lib.lb_unmap(self._raw, va, done)
            raise EngineError(f"cannot map {size:#x} bytes at {va:#x}: the pages end before that")

    def unmap(self, va: int, size: int) -> None:
        error = lib.lb_unmap(self._raw, va, size)
        if error:
            _check(error, f"cannot unmap {va:#x}")

    def protect(self, va: int, size: int, prot: Prot) -> None:
        _check(lib.lb_protect(self._raw, va, size, int(prot)), f"cannot protect {va:#x}")

    def keep(self, pages: Pages) -> None:
        """Let the engine know memory that will be mapped again and again: each map is then one table entry."""
        for host, length in pages.runs:
            _check(lib.lb_back(self._raw, ffi.cast("uint8_t *", host), length, True), "cannot register memory")

    def forget(self, pages: Pages) -> None:
        """Undo `keep`; the memory must not be mapped any more when it goes away."""
        for host, length in pages.runs:
            lib.lb_unback(self._raw, ffi.cast("uint8_t *", host), length)

    def read(self, va: int, size: int, need: Prot) -> bytes | None:
        if size <= 0:
            return b""
        if lib.lb_check(self._raw, va, size, int(need)):
            return None
        out = bytearray(size)
        lib.lb_read(self._raw, va, ffi.from_buffer(out), size, int(need))
        return bytes(out)

    def write(self, va: int, data: bytes | bytearray | memoryview, need: Prot) -> bool:
        size = len(data)
        if not size:
            return True
        return not _WRITE(self._raw, va, data if type(data) is bytes else ffi.from_buffer(data), size, need)

    def check(self, va: int, size: int, need: Prot) -> bool:
        """True if the guest itself may access all of [va, va + size) like that."""
        return size <= 0 or not lib.lb_check(self._raw, va, size, int(need))

    def invalidate(self, va: int, size: int) -> None:
        lib.lb_invalidate(self._raw, va, size)

    # --- running

    def bind(self, number: int, handler: int, owner: int, args: int = 8) -> None:
        _check(lib.lb_cpu_bind(self._raw, number, handler, owner, args), f"cannot bind system call {number}")

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
        return Fault(_ACCESS.get(f.access, Access.NONE), f.address, f.pc, f.exception)

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

    def set_register(self, name: str, value: int) -> None:
        _check(lib.lb_cpu_set_register(self._raw, self.names.index(name), value), f"cannot set {name}")

    @property
    def raw(self) -> Any:
        """Its struct lb_cpu; NULL when it is closed."""
        return self._raw

    def snapshot(self) -> Snapshot:
        """State to go back to. Costs a look at all private memory once; then each page its first write."""
        context = lib.lb_cpu_save(self._raw)
        if context == ffi.NULL:
            raise EngineError("cannot save the CPU's context: out of memory")
        context = ffi.gc(context, lib.lb_context_free)
        copy = lib.lb_snapshot(self._raw)
        if copy == ffi.NULL:
            raise EngineError("cannot copy the CPU's memory: out of memory")
        return Snapshot(self, context, copy, self._arena.size)

    def restore(self, snapshot: object) -> None:
        """Go back. Costs what was written since, if `snapshot` is the one last taken or restored; else all memory."""
        if not isinstance(snapshot, Snapshot) or snapshot.cpu is not self:
            raise TypeError("restore() wants what snapshot() of this CPU gave")
        exposed = getattr(self._arena, "exposed", None)
        lib.lb_go_back(self._raw, snapshot.copy, ffi.NULL if exposed is None else ffi.from_buffer("uint8_t[]", exposed))
        _check(lib.lb_cpu_load(self._raw, snapshot.context), "cannot restore the CPU's context")

    def on_block(self, callback: Callable[[int, int], None] | None) -> Callable[[], None]:
        """Call back with (pc, size) per basic block, beside those there are; None: none any more.

        Returns what takes this one back.
        """
        if callback is None:
            self.block_callbacks.clear()
        else:
            lib.lb_block_callback = lib.lb_python_block
            self.block_callbacks.append(callback)
        _check(lib.lb_hook_block(self._raw, bool(self.block_callbacks)), "cannot hook blocks")

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
        watch = next((i for i in range(_WATCHES) if i not in self.access_callbacks), _WATCHES)
        lib.lb_access_callback = lib.lb_python_access
        _check(lib.lb_hook_access(self._raw, watch, begin, end), "cannot hook accesses")
        self.access_callbacks[watch] = callback
        return partial(self._unwatch, watch)

    def _unwatch(self, watch: int) -> None:
        if self.access_callbacks.pop(watch, None) is not None and self._raw != ffi.NULL:
            lib.lb_hook_access(self._raw, watch, 0, 0)

    def cover(self, va: int, size: int) -> bytearray:
        """Collect executed code of [va, va + size) in C, beside other areas: one byte per
        `Arch.code_unit` bytes, 1 once executed.
        """
        covered = bytearray(-(-size // self.arch.code_unit))
        _check(lib.lb_hook_cover(self._raw, va, size, ffi.from_buffer("uint8_t[]", covered)), "cannot collect coverage")
        self._covers.append(covered)
        return covered

    def uncover(self, covered: bytearray | None = None) -> None:
        """End what `cover` gave, or all."""
        area = ffi.NULL if covered is None else ffi.from_buffer("uint8_t[]", covered)
        _check(lib.lb_hook_uncover(self._raw, area), "cannot end coverage")
        self._covers = [] if covered is None else [each for each in self._covers if each is not covered]

    def set_budget(self, instructions: int) -> None:
        """Interrupt with BUDGET before the basic block that would exceed that many instructions; 0: no limit."""
        _check(lib.lb_hook_budget(self._raw, instructions), "cannot count instructions")

    def sample(self, va: int, slots: int, offset: int, scale: int) -> None:
        """Count about each millisecond of running in a histogram of the guest's: `slots` words of 16 bits at `va`.

        The word of a program counter is number (pc - offset) / 2 * scale / 65536.
        """
        _check(lib.lb_sample_start(self._raw, va, slots, offset, scale), "cannot sample")

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
            lib.lb_cpu_free(self._raw)
            self._raw = ffi.NULL
            self._handle = None  # it refers to this object: a cycle that only a collection would end
            self.block_callback = self.access_callback = None


class Turn:
    """CPUs that share a writable page run in turns by time slice (csrc/turns.c)."""

    __slots__ = ("raw",)

    def __init__(self) -> None:
        self.raw = ffi.gc(lib.lb_turn_new(), lib.lb_turn_free)


class UnicornEngine:
    """`south.platform.Engine`. Loads the library when the first CPU is made.

    model: of the processors, by a name of `models`; an architecture that has none of that name gives its default.
    "": the value of $LITEBOX_CPU, or the default. EngineError for a name that no architecture has.
    """

    def __init__(self, model: str = "") -> None:
        self._model = model or os.environ.get("LITEBOX_CPU", "")
        if self._model:
            known = sorted({name for arch in Arch for name in models(arch)})
            if self._model not in known:
                raise EngineError(f"there is no processor {self._model!r}; there are {', '.join(known)}")

    def create(self, arch: Arch, arena: Pages) -> UnicornCpu:
        model = self._model if self._model and self._model in models(arch) else ""
        if lib.lb_load_unicorn(find_library().encode()):
            raise EngineError(ffi.string(lib.lb_load_error()).decode())
        return UnicornCpu(arch, arena, model)

    def turn(self) -> Turn:
        return Turn()


def watch_signals(fd: int) -> None:
    """Interrupt every running guest with SIGNAL when a byte arrives on non-blocking `fd`; -1: stop."""
    lib.lb_watch_signals(fd)
