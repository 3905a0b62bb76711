"""What a host provides to the secure world: small protocols, composed into one `Platform`.

This module is the ground floor. Everything may import it; it imports nothing of ours. An escape
hatch to the host that is not declared here is a defect.

Ideas: microsoft/litebox's platform traits, narrowed to what TAs and sandboxed programs need.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PAGE = 4096
"""Granule of every mapping, bytes."""


class EngineError(RuntimeError):
    """The engine itself failed: no library, no memory, or a call it refused."""


class Arch(enum.Enum):
    """Guest architectures: a row of facts each. The value is the name that users type and read.

    What a package must know beyond these it keeps in a table of its own by `Arch`, which fails for a row it lacks: the
    engine in csrc/arch_*.c, the loader of TAs in ta_loader/machines.py.
    """

    AARCH64 = (
        "aarch64",
        {"word": 8, "elf_machine": 183, "code_unit": 4, "state_bits": 0, "stack_arguments": False},
    )
    ARM = (
        "arm",
        {"word": 4, "elf_machine": 40, "code_unit": 4, "state_bits": 1, "stack_arguments": True},
    )
    X86_64 = (
        "x86_64",
        {"word": 8, "elf_machine": 62, "code_unit": 1, "state_bits": 0, "stack_arguments": False},
    )

    _value_: str
    word: int
    """Size of a guest pointer, bytes."""
    elf_machine: int
    """e_machine of its ELF files (System V gABI, "ELF Header")."""
    code_unit: int
    """Bytes of code that have one flag in a map of executed code (`cover` of the engine)."""
    state_bits: int
    """Bits of a code address that say how to run the code, and not where it is: arm's bit 0 means T32."""
    stack_arguments: bool
    """Arguments of a system call may lie on the stack, where they cannot always be read (`Cpu.unreadable`)."""

    def __new__(cls, name: str, *facts: Mapping[str, object]) -> Arch:
        row = object.__new__(cls)
        row._value_ = name
        for each in facts:
            vars(row).update(each)
        return row

    def code_address(self, address: int) -> int:
        """`address` without its `state_bits`."""
        return address & ~self.state_bits


class Prot(enum.IntFlag):
    """Page permissions (the values are Unicorn's and LB_* of dispatch.h)."""

    NONE = 0
    R = 1
    W = 2
    X = 4
    RW = 3
    RX = 5


class RegionFlag(enum.IntFlag):
    """LB_REGION_* of dispatch.h."""

    SECURE = 0
    NONSECURE = 1
    PRIVATE = 2
    RWX = 4
    """May be writable and executable at once, as Linux programs can ask for; memory of TAs never is."""


class TrapKind(enum.IntEnum):
    """Why the guest stopped (enum lb_trap of cpu.h)."""

    CALL = 1
    """A system call for Python: `Cpu.call()` describes it."""
    FAULT = 2
    """A denied or unmapped access: `Cpu.fault()` describes it."""
    EXCEPTION = 3
    """Undefined instruction, breakpoint, unaligned exclusive...: `Cpu.fault()`."""
    INTERRUPTED = 4
    """The watchdog or `Cpu.interrupt` stopped it; `Cpu.reason` says which."""
    ERROR = 5
    """The engine itself failed (out of translation memory...)."""
    DEBUG = 6
    """A breakpoint, a step or a watchpoint of `Inspect`, between two instructions: `Inspect.stopped()`."""


class Interrupt(enum.IntFlag):
    """Why a running guest was interrupted; several may be pending."""

    DEADLINE = 1
    CANCEL = 2
    SIGNAL = 4
    KILL = 8
    BUDGET = 16
    """The instruction budget of a fuzzer or test ran out."""


class Call(NamedTuple):
    """A trapped system call. args: eight words, zero-extended."""

    number: int
    args: tuple[int, ...]
    pc: int


class Context(NamedTuple):
    """All that user mode sees of a CPU's registers at one moment. It outlives the CPU, and fits all of its kind.

    words: by `names`; every architecture has pc and sp. vectors, little-endian: of aarch64 V0 to V31, 16 bytes each;
    of arm D0 to D31, 8 bytes each; of x86-64 XMM0 to XMM15, then ST0 to ST7, 16 bytes each (as in FXSAVE: the
    latter have ten, and zeros).
    """

    arch: Arch
    names: tuple[str, ...]
    words: tuple[int, ...]
    vectors: bytes

    def word(self, name: str) -> int:
        """ValueError if there is no register of that name; those in `vectors` have none."""
        return self.words[self.names.index(name)]

    def changed(self, **registers: int) -> Context:
        """With other words; ValueError by the same rule."""
        words = list(self.words)
        for name, value in registers.items():
            words[self.names.index(name)] = value
        return self._replace(words=tuple(words))


class Access(enum.Enum):
    READ = "read"
    WRITE = "write"
    FETCH = "fetch"
    NONE = "none"


class Fault(NamedTuple):
    """A guest fault. address: exact faulting byte (or pc); exception: the engine's number, after an EXCEPTION."""

    access: Access
    address: int
    pc: int
    exception: int


class Pages(Protocol):
    """Memory that a region can be built of.

    Runs are (host address, size) pieces, page-aligned, in order; a guest's scattered RAM has many,
    an arena or a sealed memfd one. Whoever makes the pages keeps them alive while this object lives.
    """

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def runs(self) -> Sequence[tuple[int, int]]:
        """(host address, bytes) pieces, each a multiple of `PAGE`."""

    @property
    def identity(self) -> int:
        """The same for every object over the same memory: who shares it is told by this."""

    def view(self, offset: int, size: int) -> memoryview:
        """Writable view of [offset, offset + size); ValueError unless contiguous."""


class PrivatePages(Pages, Protocol):
    """Memory of one instance alone."""

    def discard(self) -> None:
        """Give the memory back to the host; what is read from then on is zero."""

    def close(self) -> None:
        """Give back the addresses, too: no view of it is used any more, and `view` raises ValueError."""


class Space(Protocol):
    """One guest's memory: the engine's region table. Ranges are page-aligned and never overlap.

    With one CPU it is one thread's at a time, as that CPU is. Once it has several, any thread may look at it and change
    it while others are inside CPUs of it: a change waits until no CPU is in guest code, at most for a basic block or a
    call that C answers, and every CPU sees it from then on.
    """

    arch: Arch

    def cpu(self) -> Cpu:
        """A CPU more. EngineError, also while the space's only CPU runs.

        A guest's atomic instructions are atomic only between CPUs under one turn (`Engine.turn`).
        """

    def map(self, va: int, size: int, prot: Prot, flags: RegionFlag, pages: Pages, offset: int) -> None: ...

    def unmap(self, va: int, size: int) -> None: ...

    def protect(self, va: int, size: int, prot: Prot) -> None: ...

    def read(self, va: int, size: int, need: Prot) -> bytes | None:
        """Copy out of guest memory; None unless every byte allows `need`. Prot.NONE: any mapped byte."""

    def write(self, va: int, data: bytes | bytearray | memoryview, need: Prot) -> bool:
        """Copy into guest memory, all or nothing, by the same rule."""

    def check(self, va: int, size: int, need: Prot) -> bool:
        """True if the guest itself may access all of [va, va + size) like that."""

    def keep(self, pages: Pages) -> None:
        """Register memory that will be mapped again and again: each map is then one table entry."""

    def forget(self, pages: Pages) -> None:
        """Undo `keep`."""

    def invalidate(self, va: int, size: int) -> None:
        """Forget translations of code that the host rewrote."""

    def snapshot(self) -> object:
        """Private memory, to go back to."""

    def restore(self, snapshot: object) -> None:
        """Go back, at the cost of what was written since the snapshot was taken or last restored."""

    def close(self) -> None:
        """With all its CPUs; nobody is inside one."""


class Cpu(Protocol):
    """One guest CPU; one thread inside at a time."""

    @property
    def space(self) -> Space: ...

    @property
    def reason(self) -> Interrupt:
        """What interrupted the guest; `acknowledge` clears it."""

    @property
    def number(self) -> int:
        """Number of the trapped call; cheaper than `call()`."""

    @property
    def first(self) -> int:
        """First argument of the trapped call."""

    @property
    def unreadable(self) -> bool:
        """The trapped call's stack arguments lie in memory the guest may not read."""

    def bind(self, number: int, handler: int, owner: int, args: int = 8) -> None:
        """Serve system call `number` by the C function at address `handler` (`lb_handler`).

        args: how many argument words it looks at; fewer are quicker.
        """

    def enter(self, pc: int, sp: int, args: Sequence[int]) -> TrapKind:
        """Start at `pc` with clean registers and up to four arguments; returns at the first trap."""

    def resume(self, result: int) -> TrapKind:
        """Answer the trapped system call and go on."""

    def start(self, pc: int, sp: int, a0: int, a1: int, a2: int, a3: int, /) -> int:
        """As `enter`; the call's number if it stopped at one that can be bound, else minus the TrapKind."""

    def answer(self, result: int, /) -> int:
        """As `resume`; tells the next trap as `start` does."""

    def proceed(self) -> TrapKind:
        """Go on with the registers as they are; no result is written.

        After an interruption: exact unless `mid_instruction`. After a FAULT: the instruction runs again as if for the
        first time, so a page that was mapped meanwhile is all that it needs. After a CALL: behind it, for calls that
        have no result (`execve`, `sigreturn`). After `set_context`: an entry with any registers.
        """

    def context(self) -> Context:
        """EngineError for a CPU that broke inside."""

    def set_context(self, context: Context) -> None:
        """For the next `proceed`. Bits of the processor's state that user mode cannot choose stay what they are.

        ValueError for one of another architecture, or with words or bytes too many or too few; EngineError as above.
        """

    @property
    def mid_instruction(self) -> bool:
        """The last interruption may have split an instruction: `proceed` could repeat its access."""

    def call(self) -> Call: ...

    @property
    def args(self) -> memoryview:
        """The eight argument words of the trapped call, live."""

    def words(self) -> tuple[int, ...]:
        """The eight argument words of the trapped call; cheaper than `call()`."""

    def trace_calls(self, on: bool) -> None:
        """Stop at every call, also those with a C handler; `serve` then asks that handler."""

    def serve(self) -> int | None:
        """Let the C handler answer the trapped call: its result, or None if Python must."""

    def error_text(self) -> str:
        """What the engine says of a TrapKind.ERROR."""

    def join(self, turn: Any) -> None:
        """Run in turns with the other CPUs under `turn` (`Engine.turn`); None: freely."""

    def fault(self) -> Fault: ...

    @property
    def guest(self) -> int:
        """Address of its `struct lb_guest` (dispatch.h), until it is closed.

        C that computes for long on the guest's behalf sees by it when to stop.
        """

    def interrupt(self, why: Interrupt) -> None:
        """From any thread: stop the guest within 5 ms, or at its next entry."""

    def acknowledge(self, why: Interrupt) -> None: ...

    def set_deadline(self, seconds: float | None) -> None:
        """Interrupt with DEADLINE that many seconds from now; None: never."""

    def registers(self) -> dict[str, int]: ...

    def set_register(self, name: str, value: int) -> None: ...

    def snapshot(self) -> object:
        """Its registers and the private memory of its space, to go back to."""

    def restore(self, snapshot: object) -> None:
        """Go back, at the cost of what was written since the snapshot was taken or last restored."""

    def on_block(self, callback: Callable[[int, int], None] | None) -> Callable[[], None]:
        """Call back with (pc, size) per basic block, beside other callbacks; None: no callback any more, at no cost.

        Returns what takes this callback back.
        """

    def on_access(
        self, begin: int, end: int, callback: Callable[[Access, int, int, int], None] | None
    ) -> Callable[[], None]:
        """Call back with (access, address, size, value) for data accesses that touch the guest's [begin, end).

        Beside other callbacks; None: no callback any more. Returns what takes this callback back.
        """

    def sample(self, va: int, slots: int, offset: int, scale: int) -> None:
        """About once a millisecond of running, count where the guest is: in word (pc - offset) / 2 * scale / 65536 of
        the `slots` 16-bit words at `va` in its memory. Memory it may not write, and places beyond, are passed over.
        """

    def sampled(self) -> tuple[int, float]:
        """End `sample`: (samples taken, seconds the guest ran meanwhile)."""

    def close(self) -> None: ...


class StopKind(enum.IntEnum):
    """What stopped a guest with TrapKind.DEBUG (LB_DEBUG_* of cpu.h)."""

    BREAK = 1
    STEP = 2
    WATCH = 3


class Stop(NamedTuple):
    """A stop with TrapKind.DEBUG. pc: of the next instruction. access, address: of a watched access, its first byte."""

    kind: StopKind
    pc: int
    access: Access
    address: int


class Inspect(Protocol):
    """What debuggers, replay and fuzzers want of a `Cpu`; an engine may lack it. It costs nothing when off.

    From the thread that enters the CPU, while nobody is inside. An entry stops at a breakpoint where it begins;
    `proceed` and `step` pass the one they go on from.
    """

    def set_break(self, va: int) -> None:
        """Stop before the instruction at `va`. One that is not reached costs nothing."""

    def clear_break(self, va: int) -> None:
        """EngineError if there is none."""

    def step(self) -> TrapKind:
        """Run one instruction. DEBUG, unless it traps itself; a system call that C answers is one instruction."""

    def watch(self, begin: int, end: int, access: Prot) -> Callable[[], None]:
        """Stop after an instruction that accesses [begin, end). access: Prot.R, W or RW. Returns what undoes it."""

    def stopped(self) -> Stop:
        """What the last DEBUG was."""

    def release(self) -> None:
        """No breakpoints, watchpoints and counts any more, and none of their costs."""

    def count_blocks(self, on: bool) -> None:
        """From now on count the basic blocks that begin, from 0."""

    def position(self) -> tuple[int, int]:
        """(blocks since `count_blocks`, pc): where a run is, the same in each run that begins and goes on alike."""

    def counts(self, va: int, size: int) -> memoryview:
        """How often blocks began in [va, va + size): a live word for each `Arch.code_unit` bytes."""

    def edges(self, base: int, size: int) -> bytearray:
        """Count edges between blocks in `size` bytes, a power of two, as AFL does; addresses count from `base`."""


class Engine(Protocol):
    """Makes guests' memory, and through it CPUs."""

    def space(self, arch: Arch, arena: Pages) -> Space:
        """arena: the private memory of the new instance, mapped once. EngineError."""

    def turn(self) -> Any:
        """A new turn: CPUs that join it never run guest code at the same moment."""


class PageSource(Protocol):
    """Host memory for arenas and shared objects."""

    def arena(self, size: int) -> PrivatePages:
        """Zeroed private memory, committed lazily; never leaves this process."""

    def shared(self, size: int) -> Pages:
        """A sealed memfd that a client may be given."""


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""

    def wall(self) -> float:
        """Seconds since the Unix epoch."""

    def sleep(self, seconds: float) -> None: ...


class Entropy(Protocol):
    def fill(self, size: int) -> bytes:
        """`size` bytes of the host's CSPRNG."""


class RootOfTrust(Protocol):
    """Identity of the device under everything."""

    def hardware_unique_key(self) -> bytes:
        """16 bytes (`HW_UNIQUE_KEY_LENGTH`, optee_os tee_common_otp.h)."""

    def device_id(self) -> bytes:
        """16 bytes, the die id; may be public."""


class Console(Protocol):
    """Where secure-world log text goes."""

    def write(self, text: str) -> None: ...


class NormalMemory(Protocol):
    """The RAM of a normal world that has a kernel of its own, by physical address. It may change at any moment."""

    def read(self, address: int, size: int) -> bytes:
        """A copy. ValueError unless all of it is RAM that the normal world may use."""

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """ValueError, and nothing written, by the same rule."""

    def pages(self, pieces: Sequence[tuple[int, int]]) -> Pages:
        """(physical address, bytes) pieces, page-aligned, in order. ValueError by the same rule, or for none."""


class NormalMachine(Protocol):
    """A machine whose CPUs run a normal world, as its secure world sees it."""

    @property
    def memory(self) -> NormalMemory: ...

    def notifications(self, on: bool) -> None:
        """Whether the normal world takes the interrupt of asynchronous notifications; off after a reset."""

    def notify(self) -> None:
        """Raise that interrupt; nothing happens while it is off. From any thread."""


class Monitor(Protocol):
    """What a machine's secure world answers (a secure monitor's part): South is handed one and calls it.

    From threads of South's: a call may block for as long as it likes, others come in on others.
    """

    def call(self, cpu: int, registers: Sequence[int], answer: Callable[[tuple[int, int, int, int]], None]) -> None:
        """A secure monitor call of `cpu` for the trusted OS; registers: x0 to x7. `answer` takes x0 to x3; it is
        called once, from any thread, before or after this returns. The CPU waits until then.
        """

    def may_block(self, function: int) -> bool:
        """Whether `call` may take long for that x0; else it is answered on the thread that listens for others."""

    def interrupted(self, cpu: int) -> None:
        """An interrupt for the normal world pends on a CPU that waits in a yielding call: let it go soon."""

    def reset(self) -> None:
        """The normal world starts anew: whatever it held is gone. No CPU waits."""


class Platform(NamedTuple):
    """One South, composed."""

    name: str
    engine: Engine
    pages: PageSource
    clock: Clock
    entropy: Entropy
    root_of_trust: RootOfTrust
    console: Console
