"""A guest made of Python byte arrays, to call `lb_handler`s of tee._native without an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from cffi import FFI

from tee.crypto.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from south.platform import Cpu

DONE, ASK = 0, 1
READ, WRITE = 1, 2
END = 2
NONSECURE, PRIVATE = 1, 2

# south/engine/csrc/dispatch.h
_ffi = FFI()
_ffi.cdef("""
struct lb_call { uint64_t number; uint64_t arg[8]; uint64_t result; uint64_t pc; };
struct lb_span { uint8_t *host; uint64_t size; uint32_t flags; uint32_t prot; };
struct lb_guest;
struct lb_guest_ops { bool (*span)(const struct lb_guest *, uint64_t, uint64_t, uint32_t, struct lb_span *);
    int (*stop)(const struct lb_guest *); };
struct lb_guest { const struct lb_guest_ops *ops; void *cpu; uint32_t word_bits; };
typedef int (*lb_handler)(const struct lb_guest *, struct lb_call *, void *);
""")


class Region(NamedTuple):
    va: int
    data: bytearray
    prot: int
    flags: int


class Guest:
    """Regions of memory and system calls into `task`."""

    def __init__(self, task: Task, word_bits: int = 64) -> None:
        self.task = task
        self.regions: list[Region] = []
        self.looks = 0
        self.stops: Callable[[int], bool] = lambda look: False
        """Whether the guest is to stop, by how often that was asked before."""
        self._span = _ffi.callback("bool(const struct lb_guest *, uint64_t, uint64_t, uint32_t, struct lb_span *)")(
            self._find
        )
        self._stop = _ffi.callback("int(const struct lb_guest *)")(self._look)
        self._ops = _ffi.new("struct lb_guest_ops *", {"span": self._span, "stop": self._stop})
        self._guest = _ffi.new("struct lb_guest *", {"ops": self._ops, "word_bits": word_bits})
        task.bind(cast("Cpu", self))
        self._handlers = {n: _ffi.cast("lb_handler", a) for n, a in task.handlers().items()}

    def map(self, va: int, data: bytes | int, prot: int = READ | WRITE, flags: int = PRIVATE) -> bytearray:
        region = Region(va, bytearray(data), prot, flags)
        self.regions.append(region)
        return region.data

    def _find(self, _guest: Any, va: int, size: int, need: int, out: Any) -> bool:
        for r in self.regions:
            if r.va <= va < r.va + len(r.data) and size and r.prot & need == need:
                offset = va - r.va
                out.host = _ffi.from_buffer("uint8_t[]", r.data) + offset
                out.size = min(size, len(r.data) - offset)
                out.flags, out.prot = r.flags, r.prot
                return True
        return False

    def _look(self, _guest: Any) -> int:
        self.looks += 1
        return END if self.stops(self.looks - 1) else 0

    @property
    def guest(self) -> int:
        """As `Cpu.guest`."""
        return int(_ffi.cast("uintptr_t", self._guest))

    def bind(self, number: int, handler: int, owner: int, args: int) -> None:
        """As `Cpu.bind`, for `Task.bind`: `call` knows the handlers already."""

    def call(self, number: int, *args: int) -> int | None:
        """The TEE_Result, or None when the handler leaves the call to Python."""
        call = _ffi.new("struct lb_call *", {"number": number, "arg": list(args), "result": 0xDEAD})
        owner = _ffi.cast("void *", self.task.owner)
        verdict = self._handlers[number](self._guest, call, owner)
        if verdict == ASK:
            assert call.result == 0xDEAD
            return None
        return int(call.result)
