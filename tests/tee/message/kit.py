"""A normal world's kernel in miniature: its memory, a driver that speaks the protocol, and a supplicant's answers.

Written from the protocol's description, with structures packed by hand: what it expects is not what our codec says.
"""

from __future__ import annotations

import queue
import struct
import threading
import time
from typing import TYPE_CHECKING
from uuid import UUID

from south.linux_host.memory import HostPages, ScatteredPages
from south.platform import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from south.platform import Monitor, Pages

BASE = 0x40000000
RAM = 32 << 20
NIL = UUID(int=0)

# optee_msg.h, optee_smc.h, optee_rpc_cmd.h
WITH_ARG, WITH_RPC_ARG, WITH_REGD_ARG, RETURN = 0x32000004, 0x32000012, 0x32000013, 0x32000003
OPEN, INVOKE, CLOSE, CANCEL, REGISTER, UNREGISTER = range(6)
RPC_ALLOC, RPC_FREE, FOREIGN, RPC_CMD = 0xFFFF0000, 0xFFFF0002, 0xFFFF0004, 0xFFFF0005
LOAD_TA, RPMB, FS, GET_TIME, NOTIFICATION, SUSPEND, SHM_ALLOC, SHM_FREE = range(8)


class Ram:
    """`south.platform.NormalMemory`."""

    def __init__(self) -> None:
        self.whole = HostPages().shared(RAM)

    def _at(self, address: int, size: int) -> int:
        if not BASE <= address <= address + size <= BASE + RAM or size < 0:
            raise ValueError(f"{address:#x} is no RAM")
        return address - BASE

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.whole.view(self._at(address, size), size))

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self.whole.view(self._at(address, len(data)), len(data))[:] = data

    def pages(self, pieces: Sequence[tuple[int, int]]) -> Pages:
        return ScatteredPages([(self.whole, self._at(address, size), size) for address, size in pieces])


class Machine:
    """`south.platform.NormalMachine`; what is notified is counted, and told to `on_notify`."""

    def __init__(self) -> None:
        self.memory = Ram()
        self.on = False
        self.count = 0
        self.on_notify: Callable[[], None] = lambda: None

    def notifications(self, on: bool) -> None:
        self.on = on

    def notify(self) -> None:
        if self.on:
            self.count += 1
            self.on_notify()


class Driver:
    """Linux' driver, as far as calls need it. Thread-safe: each thread is a task, each task has a CPU number."""

    def __init__(self, machine: Machine, monitor: Monitor) -> None:
        self.machine = machine
        self.memory = machine.memory
        self.monitor = monitor
        self._free = [BASE + at for at in range(RAM - PAGE, 1 << 20, -PAGE)]
        self._lock = threading.Lock()
        self._cpus = list(range(64))
        self.buffers: dict[int, list[int]] = {}
        self.requests: list[int] = []
        self.interruptions = 0
        self.supplicant: Callable[[int, list[list[int]], Driver], int] = lambda *_: 0xFFFF0008
        self._woken: dict[int, threading.Event] = {}
        machine.on_notify = lambda: threading.Thread(target=self._interrupt, daemon=True).start()

    # --- memory

    def page(self) -> int:
        with self._lock:
            return self._free.pop()

    def free(self, pages: Sequence[int]) -> None:
        with self._lock:
            self._free.extend(pages)

    def page_list(self, pages: Sequence[int]) -> int:
        """Physical address of a list of them."""
        first = at = self.page()
        rest = list(pages)
        while True:
            chunk, rest = rest[:511], rest[511:]
            following = self.page() if rest else 0
            words = [*chunk, *[0] * (511 - len(chunk)), following]
            self.memory.write(at, struct.pack("<512Q", *words))
            if not rest:
                return first
            at = following

    def scattered(self, size: int) -> list[int]:
        """Pages that never lie side by side."""
        pages = [self.page() for _ in range(2 * ((size + PAGE - 1) // PAGE))]
        self.free(pages[1::2])
        return pages[::2]

    def put(self, pages: Sequence[int], offset: int, data: bytes) -> None:
        while data:
            at, where = offset % PAGE, pages[offset // PAGE]
            piece = data[: PAGE - at]
            self.memory.write(where + at, piece)
            offset += len(piece)
            data = data[len(piece) :]

    def get(self, pages: Sequence[int], offset: int, size: int) -> bytes:
        parts = []
        while size:
            at, where = offset % PAGE, pages[offset // PAGE]
            length = min(size, PAGE - at)
            parts.append(self.memory.read(where + at, length))
            offset += length
            size -= length
        return b"".join(parts)

    # --- registers

    def smc(self, *registers: int, cpu: int = 0) -> tuple[int, ...]:
        """One secure monitor call; waits for its answer."""
        answers: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
        given = [*registers, *[0] * (8 - len(registers))]
        caller = threading.Thread(target=self.monitor.call, args=(cpu, given, answers.put), daemon=True)
        caller.start()
        return answers.get(timeout=60)

    def _interrupt(self) -> None:
        """The handler of asynchronous notifications."""
        while True:
            _, value, flags, _ = self.smc(0xB2000011, cpu=63)
            if not flags & 1:
                return
            self._sleeper(value).set()
            if not flags & 2:
                return

    def _sleeper(self, key: int) -> threading.Event:
        with self._lock:
            return self._woken.setdefault(key, threading.Event())

    def arg(
        self,
        command: int,
        params: Sequence[tuple[int, int, int, int]] = (),
        *,
        func: int = 0,
        session: int = 0,
        cancel: int = 0,
    ) -> bytes:
        head = struct.pack("<8I", command, func, session, cancel, 0, 0xFFFFFFFF, 0, len(params))
        return head + b"".join(struct.pack("<4Q", *param) for param in params)

    def call(self, message: bytes, *, place: int | None = None, style: int = WITH_RPC_ARG) -> Answer:
        """A call to its end, requests answered. place: a page, a new one if None."""
        page = self.page() if place is None else place
        self.memory.write(page, message)
        registers = self._run((style, page >> 32, page & 0xFFFFFFFF, 0), page, message)
        count = struct.unpack_from("<I", message, 28)[0]
        back = self.memory.read(page, 32 + 32 * min(count, 127))
        if place is None:
            self.free([page])
        return Answer(registers, back)

    def _run(self, registers: tuple[int, ...], page: int, message: bytes) -> tuple[int, ...]:
        with self._lock:
            cpu = self._cpus.pop()
        try:
            count = struct.unpack_from("<I", message, 28)[0]
            request_at = page + 32 + 32 * min(count, 100)
            while True:
                out = self.smc(*registers, cpu=cpu)
                if out[0] >> 16 != 0xFFFF:
                    return out
                registers = (RETURN, *self._request(out, request_at))
        finally:
            with self._lock:
                self._cpus.append(cpu)

    def _request(self, out: tuple[int, ...], request_at: int) -> tuple[int, ...]:
        """x1 to x7 of the RETURN_FROM_RPC."""
        kind, one, two, number = out[:4]
        self.interruptions += kind == FOREIGN
        if kind == RPC_ALLOC:
            page = self.page()
            self.buffers[page] = [page]
            return page >> 32, page & 0xFFFFFFFF, number, page >> 32, page & 0xFFFFFFFF, 0, 0
        if kind == RPC_FREE:
            self.free(self.buffers.pop(one << 32 | two, ()))
        if kind == RPC_CMD:
            cookie = one << 32 | two
            self._message(self.buffers[cookie][0] if cookie in self.buffers else request_at)
        return 0, 0, number, 0, 0, 0, 0

    def _message(self, at: int) -> None:
        head = self.memory.read(at, 32)
        command, count = struct.unpack_from("<I", head)[0], min(struct.unpack_from("<I", head, 28)[0], 4)
        params = [list(struct.unpack("<4Q", self.memory.read(at + 32 + 32 * i, 32))) for i in range(count)]
        self.requests.append(command)
        result = self._handle(command, params)
        for i, param in enumerate(params):
            self.memory.write(at + 32 + 32 * i, struct.pack("<4Q", *(word & (1 << 64) - 1 for word in param)))
        self.memory.write(at + 20, struct.pack("<2I", result, 2))

    def _handle(self, command: int, params: list[list[int]]) -> int:
        if command == SHM_ALLOC:
            pages = self.scattered(params[0][2])
            cookie = pages[0]
            self.buffers[cookie] = pages
            params[0][:] = [0x20A, self.page_list(pages), len(pages) * PAGE, cookie]
            return 0
        if command == SHM_FREE:
            self.free(self.buffers.pop(params[0][2]))
            return 0
        if command == GET_TIME:
            params[0][1:3] = [int(time.time()), 0]
            return 0
        if command == NOTIFICATION:
            event = self._sleeper(params[0][2])
            event.wait(params[0][3] / 1000)
            event.clear()
            return 0
        return self.supplicant(command, params, self)

    # --- what applications do

    def enable_notifications(self) -> None:
        assert self.smc(0xB2000010)[0] == 0

    def register(self, pages: Sequence[int], size: int, offset: int = 0, cookie: int = 0) -> int:
        cookie = cookie or 0xFFFF000000000000 | pages[0]
        param = (0x20A, self.page_list(pages) + offset, size, cookie)
        answer = self.call(self.arg(REGISTER, [param]))
        assert answer.ret == 0, hex(answer.ret)
        return cookie

    def open(self, uuid: UUID, login: int = 0, client: UUID = NIL, **options: int) -> Answer:
        a, b = struct.unpack("<2Q", uuid.bytes)
        c, d = struct.unpack("<2Q", client.bytes)
        return self.call(self.arg(OPEN, [(0x101, a, b, 0), (0x101, c, d, login)]), **options)

    def invoke(
        self, session: int, func: int, *params: tuple[int, int, int, int], cancel: int = 0, **options: int
    ) -> Answer:
        return self.call(self.arg(INVOKE, params, func=func, session=session, cancel=cancel), **options)


class Answer:
    """regs: x0 to x3. ret, origin, session and params of the message as it came back."""

    def __init__(self, regs: tuple[int, ...], message: bytes) -> None:
        self.regs = regs
        words = struct.unpack_from("<8I", message)
        self.session, self.ret, self.origin = words[2], words[5], words[6]
        self.params = [struct.unpack_from("<4Q", message, at) for at in range(32, len(message), 32)]
