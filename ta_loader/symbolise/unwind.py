"""Walk the stack of a stopped program.

Each frame is tried by the best description there is: EHABI tables (arm), call frame information, and last
the chain of frame records. The stack and the tables are a hostile guest's, so every step must move the
stack upwards, land on an aligned place and return into code of a loaded module; at most MAX_FRAMES are made.

Source: "Procedure Call Standard for the Arm 64-bit Architecture" (aapcs64) §6.4.6 "The Frame Pointer";
"Procedure Call Standard for the Arm Architecture" (aapcs32), "The Frame Pointer".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from south.platform import Arch
from tee.ports import Frame

from .calls import call_target
from .cfi import Offset, Register, Row, Rule, ValueOffset, frame_tables
from .ehabi import CannotUnwind, Entry, VirtualRegisters, find_entry, instructions
from .elffile import ElfFile, parse, same_build
from .symbols import locate, symbols_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from tee.ports import Module

MAX_FRAMES = 64


class Machine(NamedTuple):
    """What unwinding needs to know of an architecture; numbers are DWARF's and, on arm, the registers' own."""

    frame: int
    stack: int
    link: int
    kept: frozenset[int]
    """Callee-saved registers: a caller's value survives where no rule says otherwise. Not the link register."""
    stack_align: int
    names: dict[str, int]
    ehabi: bool
    """Code may have the unwind tables of arm's exception handling ABI."""
    restored_link: bool
    """A function gives the link register its caller's value back before it returns; otherwise see `calls`."""
    signed_returns: bool
    """A return address may hold an authentication code above the address."""
    record_at_frame: bool
    """The frame register points at a record of two words, and a function pushes it at once: its caller's frame
    register, return address (AAPCS64 §6.4.6)."""
    records: tuple[tuple[int, int, int], ...]
    """Frame records that code may keep: register, words to the next record's address, words to the return address."""


MACHINES = {
    Arch.AARCH64: Machine(
        frame=29,
        stack=31,
        link=30,
        kept=frozenset(range(19, 30)),
        stack_align=16,
        names={**{f"x{i}": i for i in range(31)}, "fp": 29, "lr": 30, "sp": 31},
        ehabi=False,
        restored_link=True,
        signed_returns=True,
        record_at_frame=True,
        records=((29, 0, 1),),
    ),
    Arch.ARM: Machine(
        frame=11,
        stack=13,
        link=14,
        kept=frozenset(range(4, 12)),
        stack_align=4,
        names={**{f"r{i}": i for i in range(15)}, "fp": 11, "ip": 12, "sp": 13, "lr": 14},
        ehabi=True,
        restored_link=False,
        signed_returns=False,
        record_at_frame=False,
        # GCC's A32 record has the return address at r11 and the next record's address below it; the
        # AAPCS's, which Clang makes, is laid out as AArch64's; T32 code keeps it in r7.
        records=((11, -1, 0), (11, 0, 1), (7, 0, 1)),
    ),
}


class _End(Exception):
    """The stack ends here: what a table or the link register gives is no caller."""


class State(NamedTuple):
    """A frame. floor: nothing of its callers lies below this address; the stack pointer may be unknown."""

    pc: int
    registers: dict[int, int]
    floor: int


class Place(NamedTuple):
    """An address in a module. elf: what is loaded; files: where to look for names, best first."""

    module: Module
    address: int
    elf: ElfFile | None
    files: list[ElfFile]


class Modules:
    """The program's modules with their ELF files, each fetched once."""

    def __init__(
        self,
        arch: Arch,
        modules: Sequence[Module],
        elf_of: Callable[[UUID], bytes | None],
        debug_of: Callable[[UUID], bytes | None],
    ) -> None:
        self._arch = arch
        self._modules = modules
        self._elf_of = elf_of
        self._debug_of = debug_of
        self._files: dict[UUID, tuple[ElfFile | None, list[ElfFile]]] = {}
        top = max((m.base + m.size for m in modules), default=0)
        self.address_mask = (1 << max(top.bit_length(), 1)) - 1
        """Covers every module: above it an authenticated return address holds its code."""

    def _fetch(self, uuid: UUID) -> tuple[ElfFile | None, list[ElfFile]]:
        if uuid not in self._files:
            module, debug = (
                parse(bytes(data)) if data else None for data in (self._elf_of(uuid), self._debug_of(uuid))
            )
            if module is not None and module.arch is not self._arch:
                module = None
            if debug is not None and (debug.arch is not self._arch or (module and not same_build(module, debug))):
                debug = None
            self._files[uuid] = (module, [e for e in (debug, module) if e is not None])
        return self._files[uuid]

    def place(self, pc: int) -> Place | None:
        """Where a pc lies; None outside every module."""
        for module in self._modules:
            if module.base <= pc < module.base + module.size:
                elf, files = self._fetch(module.uuid)
                return Place(module, pc - module.base, elf, files)
        return None

    def returns_to(self, address: int) -> int | None:
        """The return address in `address`, less T32 bit or authentication code; None unless it lies in code."""
        address = self._arch.code_address(address)
        signed = MACHINES[self._arch].signed_returns
        for candidate in (address, address & self.address_mask) if signed else (address,):
            if candidate and self.executable(candidate - 1):
                return candidate
        return None

    def executable(self, pc: int) -> bool:
        place = self.place(pc)
        return place is not None and (place.elf is None or place.elf.executable(place.address))

    def function(self, pc: int) -> tuple[int, int] | None:
        """Bounds of the function (or of the procedure linkage table) over `pc`."""
        place = self.place(pc)
        if place is None:
            return None
        base = place.module.base
        for elf in place.files:
            found = symbols_of(elf).function(place.address)
            if found:
                return base + found.start, base + found.end
        for name in (".plt", ".iplt"):
            section = place.elf.section(name) if place.elf else None
            if section and section.addr <= place.address < section.addr + section.size:
                return base + section.addr, base + section.addr + section.size
        return None

    def describe(self, pc: int, lookup: int) -> Frame:
        place = self.place(lookup)
        if place is None:
            return Frame(pc, "", "", 0)
        at = locate(place.files, pc - place.module.base, place.address)
        return Frame(pc, str(place.module.uuid), at.function, at.offset, at.file, at.line)


class Unwinder:
    """Steps from a frame to its caller."""

    def __init__(self, arch: Arch, modules: Modules, read: Callable[[int, int], bytes | None]) -> None:
        self._arch = arch
        self._machine = MACHINES[arch]
        self._mask = (1 << 8 * self._arch.word) - 1
        self._modules = modules
        self._read = read

    def start(self, registers: Mapping[str, int]) -> State:
        names = self._machine.names
        values = {names[name]: value & self._mask for name, value in registers.items() if name in names}
        pc = registers.get("pc", registers.get("r15", 0)) & self._mask
        return State(self._arch.code_address(pc), values, values.get(self._machine.stack, 0))

    def load(self, address: int) -> int | None:
        """One aligned word of the stack."""
        word = self._arch.word
        if address < 0 or address % word or address + word - 1 > self._mask:
            return None
        raw = self._read(address, word)
        return int.from_bytes(raw, "little") if raw is not None and len(raw) == word else None

    def step(self, state: State, innermost: bool) -> State | None:
        """The caller; None at the end of the stack or where it cannot be followed."""
        try:
            return self._step(state, innermost)
        except _End:
            return None

    def _step(self, state: State, innermost: bool) -> State | None:
        lookup = state.pc if innermost else state.pc - 1
        place = self._modules.place(lookup)
        if place is None or (innermost and not self._modules.executable(lookup)):
            return self._leaf(state, None) if innermost else None
        if place.elf is not None and self._machine.ehabi:
            entry = find_entry(place.elf, place.address)
            if entry is not None and not entry.cannot_unwind:
                return self._by_ehabi(state, place.elf, entry, innermost) or self._by_records(state)
            by_cfi = self._by_cfi(state, place, innermost)
            if by_cfi is not None or entry is None:
                return by_cfi or self._unaided(state, lookup, innermost)
            base = place.module.base
            return self._leaf(state, (base + entry.start, base + entry.end)) if innermost else None
        return self._by_cfi(state, place, innermost) or self._unaided(state, lookup, innermost)

    def _unaided(self, state: State, lookup: int, innermost: bool) -> State | None:
        """No table covers it: hand-written assembly, a linkage stub, or code built without tables."""
        by_records = self._by_unchained_record(state) or self._by_records(state)
        bounds = self._modules.function(lookup) if innermost else None
        leaf = self._leaf(state, bounds) if bounds else None
        if leaf is not None and (by_records is None or by_records.pc != leaf.pc):
            return leaf
        return by_records

    def _leaf(self, state: State, bounds: tuple[int, int] | None) -> State | None:
        """The caller by the link register.

        It holds the return address until the function makes a call, and then an address in the function
        itself (but see `calls` for arm). bounds: of that function; None: not in
        any, as after a call through a bad pointer.
        """
        link = state.registers.get(self._machine.link)
        back = self._modules.returns_to(link) if link else None
        if link is None or back is None or (bounds and bounds[0] <= back - 1 < bounds[1]):
            return None
        if bounds and not self._machine.restored_link:
            target = call_target(self._read, link)
            if target is None or not bounds[0] <= target < bounds[1]:
                return None
        registers = self._surviving(state.registers)
        stack = state.registers.get(self._machine.stack)
        if stack is not None:
            registers[self._machine.stack] = stack
        return State(back, registers, state.floor)

    def _surviving(self, registers: dict[int, int]) -> dict[int, int]:
        return {n: v for n, v in registers.items() if n in self._machine.kept}

    def _accept(self, back: int, registers: dict[int, int], stack: int, state: State, innermost: bool) -> State:
        """A caller's frame, if it lies above its callee's (a leaf may have none of its own) and in code."""
        pc = self._modules.returns_to(back)
        if pc is None or stack % self._machine.stack_align or stack > self._mask:
            raise _End
        if stack < state.floor or (stack == state.floor and not innermost):
            raise _End
        registers[self._machine.stack] = stack
        return State(pc, registers, stack)

    def _by_ehabi(self, state: State, elf: ElfFile, entry: Entry, innermost: bool) -> State | None:
        virtual = VirtualRegisters(state.registers, self.load)
        try:
            virtual.run(instructions(elf, entry))
        except CannotUnwind:
            return None
        stack = virtual.values.get(self._machine.stack)
        if stack is None:
            return None
        return self._accept(virtual.values[15], self._surviving(virtual.values), stack, state, innermost)

    def _by_cfi(self, state: State, place: Place, innermost: bool) -> State | None:
        for elf in reversed(place.files):
            for table in frame_tables(elf):
                row = table.find(place.address)
                if row is not None:
                    return self._by_row(state, row, innermost)
        return None

    def _by_row(self, state: State, row: Row, innermost: bool) -> State | None:
        cfa = self._cfa(state, row)
        if cfa is None:
            return None
        caller = self._surviving(state.registers)
        for number, rule in row.rules.items():
            value = self._value(state, cfa, rule)
            if value is None:
                caller.pop(number, None)
            else:
                caller[number] = value & self._mask
        back = caller.get(row.return_register)
        if row.return_register not in row.rules:
            back = state.registers.get(row.return_register)  # Known in the innermost frame alone.
        if back is None:
            return None
        return self._accept(back, caller, cfa, state, innermost)

    def _value(self, state: State, cfa: int, rule: Rule) -> int | None:
        if isinstance(rule, Offset):
            return self.load(cfa + rule.value)
        if isinstance(rule, ValueOffset):
            return cfa + rule.value
        if isinstance(rule, Register):
            return state.registers.get(rule.number)
        return None

    def _cfa(self, state: State, row: Row) -> int | None:
        """Canonical frame address. Without the stack pointer, by the record that the frame pointer points to."""
        if row.cfa is None:
            return None
        number, offset = row.cfa
        value = state.registers.get(number)
        if value is not None:
            return value + offset
        frame, saved = state.registers.get(self._machine.frame), row.rules.get(self._machine.frame)
        if number == self._machine.stack and self._machine.record_at_frame and frame and isinstance(saved, Offset):
            return frame - saved.value
        return None

    def _by_records(self, state: State) -> State | None:
        """The chain of frame records; the stack pointer is unknown from there on."""
        for frame, at_next, at_back, used in self._records(state):
            next_frame, back = self.load(frame + at_next), self.load(frame + at_back)
            if next_frame is None or back is None or (next_frame and next_frame <= frame):
                continue
            pc = self._modules.returns_to(back)
            if pc is not None:
                return State(pc, {used: next_frame}, frame + self._arch.word)
        return None

    def _by_unchained_record(self, state: State) -> State | None:
        """A frame record that was pushed last, and the frame pointer not yet pointed at it.

        libutee's _utee_panic calls on like that; without this the function that panicked would be missing.
        """
        machine = self._machine
        if not machine.record_at_frame:
            return None
        frame, stack = state.registers.get(machine.frame), state.registers.get(machine.stack)
        if not frame or stack is None or stack % machine.stack_align or not state.floor <= stack < frame:
            return None
        back = self.load(stack + self._arch.word)
        pc = self._modules.returns_to(back) if back and self.load(stack) == frame else None
        if pc is None:
            return None
        top = stack + 2 * self._arch.word
        return State(pc, {**self._surviving(state.registers), machine.stack: top}, top)

    def _records(self, state: State) -> list[tuple[int, int, int, int]]:
        """(address, offset of the next record's address, offset of the return address, frame register)."""
        word = self._arch.word
        found = []
        for register, *words in self._machine.records:
            at_next, at_back = (word * each for each in words)
            frame = state.registers.get(register)
            if frame and not frame % word and frame + min(at_next, at_back) >= state.floor:
                found.append((frame, at_next, at_back, register))
        return found


def backtrace(
    arch: Arch,
    modules: Sequence[Module],
    registers: Mapping[str, int],
    read: Callable[[int, int], bytes | None],
    elf_of: Callable[[UUID], bytes | None],
    debug_of: Callable[[UUID], bytes | None] = lambda _: None,
    returns: tuple[int, Sequence[int]] = (0, ()),
) -> list[Frame]:
    """Frames from `registers` outwards, innermost first; at most MAX_FRAMES. Never raises.

    registers: 'pc', 'sp', 'lr' and x0..x30 or r0..r15; missing ones count as unknown. read(address, bytes):
    guest memory, None if it is not all there. elf_of: a module's ELF file as it was loaded; debug_of: its
    unstripped twin, used if it is of the same build. returns: a function that stands in the place of return
    addresses, and those addresses, innermost first. Frame.pc is the return address for all frames but the
    first; names and lines are those of the instruction before it.
    """
    known = Modules(arch, modules, elf_of, debug_of)
    unwinder = Unwinder(arch, known, read)
    state: State | None = unwinder.start(registers)
    frames: list[Frame] = []
    trampoline, hidden = arch.code_address(returns[0]), iter(returns[1])
    while state is not None and len(frames) < MAX_FRAMES:
        innermost = not frames
        frames.append(known.describe(state.pc, state.pc if innermost else state.pc - 1))
        state = unwinder.step(state, innermost)
        if state is not None and trampoline and state.pc == trampoline:
            back = known.returns_to(next(hidden, 0))
            state = None if back is None else state._replace(pc=back)
    return frames
