"""The parts without QEMU: guest memory, the doorbell with rubbish, the shim's rebuild, the device tree."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from south.platform import PAGE
from south.qemu_arm import build, device_tree, layout
from south.qemu_arm.doorbell import Doorbell
from south.qemu_arm.errors import MachineError
from south.qemu_arm.machine import Board, QemuMachine
from south.qemu_arm.memory import GuestMemory
from tests.fakes import Lines
from tests.south.qemu_arm.kit import Recorder

SIZE = 4 << 20
END = layout.RAM_BASE + SIZE
KERNEL = layout.KERNEL_BASE
SHIM_END = layout.SHIM_BASE + layout.SHIM_SIZE


@pytest.mark.skipif(bool(build.missing()), reason=f"not installed: {', '.join(build.missing())}")
def test_the_shim_is_what_its_source_gives() -> None:
    assert build.assemble(build.SOURCE, layout.SHIM_BASE) == build.IMAGE.read_bytes()


def test_layout_fits() -> None:
    image = build.IMAGE.read_bytes()
    assert layout.SHIM_BASE + len(image) <= layout.CONFIG_BASE
    assert layout.CONFIG_BASE + layout.CONFIG_SIZE <= layout.SLOTS_BASE
    assert layout.slot(layout.MAX_CPUS) <= layout.STACKS_BASE
    assert layout.STACKS_BASE + layout.MAX_CPUS * layout.STACK_SIZE <= SHIM_END <= layout.KERNEL_BASE
    # The shim shifts instead of multiplying.
    assert (layout.SLOT_SIZE, layout.STACK_SIZE) == (1 << 8, 1 << 9)
    assert layout.MAX_CPUS & (layout.MAX_CPUS - 1) == 0
    assert layout.RING_CALL + layout.MAX_CPUS <= layout.RING_INTERRUPTED


def test_memory_reads_and_writes() -> None:
    memory = GuestMemory(SIZE)
    memory.write(END - 5, b"hello")
    assert memory.read(END - 5, 5) == b"hello"
    memory.write(layout.RAM_BASE, b"start")
    pages = memory.pages([(END - PAGE, PAGE), (KERNEL, 2 * PAGE), (KERNEL + 2 * PAGE, PAGE)])
    assert bytes(pages.view(PAGE - 5, 5)) == b"hello"
    assert [size for _, size in pages.runs] == [PAGE, 3 * PAGE]
    pages.view(PAGE, 1)[:] = b"x"
    assert memory.read(KERNEL, 1) == b"x"


def test_what_is_set_aside_stands_in_the_device_tree() -> None:
    fdt = pytest.importorskip("fdt", reason="fdt is not installed")
    board = fdt.FDT()
    board.add_item(fdt.Node("pl011@9000000"))
    address, size = 0x1_5FC0_0000, 4 << 20
    tree = fdt.parse_dtb(device_tree.edit(board.to_dtb(version=17), shared=(address, size)))
    node = tree.get_node("/reserved-memory/optee_shm@15fc00000")
    assert list(node.get_property("reg")) == [1, 0x5FC0_0000, 0, size]
    assert node.get_property("no-map") is not None
    assert tree.exist_node(f"/reserved-memory/shim@{layout.SHIM_BASE:x}")


@pytest.mark.parametrize("size", [1, PAGE + 1, -PAGE, 65 << 20])
def test_what_cannot_be_set_aside(size: int) -> None:
    with pytest.raises(MachineError, match="bytes of shared memory"):
        QemuMachine(Board(Path("none"), memory=256 << 20, shared=size))


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (layout.RAM_BASE - 1, 2),
        (END - 1, 2),
        (END, 1),
        (0, 1),
        (1 << 64, 1),
        (KERNEL, SIZE),
        (layout.RAM_BASE, SIZE),
        (layout.SHIM_BASE, 1),
        (layout.SHIM_BASE - 1, 2),
        (SHIM_END - 1, 1),
        (KERNEL, -1),
    ],
)
def test_memory_out_of_bounds(address: int, size: int) -> None:
    memory = GuestMemory(SIZE)
    with pytest.raises(ValueError, match="RAM"):
        memory.read(address, size)
    if size > 0:
        with pytest.raises(ValueError, match="RAM"):
            memory.write(address, bytes(size))
    with pytest.raises(ValueError):
        memory.pages([(KERNEL, PAGE), (address, size)])


def test_pages_are_whole() -> None:
    memory = GuestMemory(SIZE)
    for pieces in ([], [(KERNEL + 1, PAGE)], [(KERNEL, 1)], [(KERNEL, 0)], [(layout.SHIM_BASE, PAGE)]):
        with pytest.raises(ValueError):
            memory.pages(pieces)


class Served:
    """A doorbell with this test as the guest."""

    def __init__(self, monitor: Recorder, cpus: int = 2) -> None:
        self.line, theirs = socket.socketpair()
        self.line.settimeout(10)
        self.shim = memoryview(bytearray(layout.SHIM_SIZE))
        self.log = Lines()
        self.bell = Doorbell(theirs, self.shim, cpus, self.log)
        self._theirs = theirs
        self._thread = threading.Thread(target=self.bell.serve, args=(monitor, 10.0))
        self._thread.start()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._theirs.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "litebox-doorbell"]

    def slot(self, cpu: int, field: int) -> int:
        return layout.slot(cpu) - layout.SHIM_BASE + field

    def call(self, cpu: int, function: int, sequence: int) -> None:
        self.shim[self.slot(cpu, 0) : self.slot(cpu, 8)] = function.to_bytes(8, "little")
        at = self.slot(cpu, layout.SLOT_SEQUENCE)
        self.shim[at : at + 4] = sequence.to_bytes(4, "little")
        at = self.slot(cpu, layout.SLOT_SLEEP)
        self.shim[at] = 1
        self.line.send(bytes((layout.RING_CALL + cpu,)))


@given(rings=st.lists(st.binary(max_size=40), max_size=20), noise=st.binary(min_size=64, max_size=64))
@settings(max_examples=60)
def test_rubbish_on_the_line_and_in_the_slots(rings: list[bytes], noise: bytes) -> None:
    monitor = Recorder()
    with Served(monitor) as guest:
        for ring in rings:
            start = layout.CONFIG_BASE - layout.SHIM_BASE
            guest.shim[start : start + 0x1400] = (noise * 80)[len(ring) :][:0x1400].ljust(0x1400, b"\0")
            guest.line.send(ring)
    assert "internal error" not in guest.log.text
    assert all(cpu < 2 and len(registers) == 8 for cpu, registers in monitor.calls)
    assert monitor.resets >= 1


def test_a_blocked_call_does_not_keep_others_out() -> None:
    """Leader and followers: each call that blocks is served by a thread, and the line is still watched."""
    free = threading.Event()
    cpus = 8

    def block(*_: object) -> tuple[int, int, int, int]:
        free.wait(10)
        return (1, 0, 0, 0)

    interrupted = threading.Event()
    monitor = Recorder({0x32000001: block})
    monitor.on_interrupt = lambda cpu: interrupted.set()
    with Served(monitor, cpus) as guest:
        for cpu in range(cpus):
            guest.call(cpu, 0x32000001, 5)
        guest.line.send(bytes((layout.RING_INTERRUPTED + 3,)))
        assert interrupted.wait(10)
        free.set()
        woken = b""
        while len(woken) < cpus:
            woken += guest.line.recv(16)
        assert woken == bytes((layout.RING_WAKE,)) * cpus
        assert all(guest.shim[guest.slot(cpu, layout.SLOT_DONE)] == 5 for cpu in range(cpus))


def test_an_answer_of_an_older_life_goes_nowhere() -> None:
    answers: list[object] = []
    called = threading.Event()
    reset = threading.Event()

    def keep(cpu: int, registers: object, answer: object) -> None:
        answers.append(answer)
        called.set()

    monitor = Recorder({0x32000001: keep})
    with Served(monitor, 1) as guest:
        guest.call(0, 0x32000001, 9)
        assert called.wait(10)
        monitor.reset = reset.set  # type: ignore[method-assign]
        guest.line.send(bytes((layout.RING_BOOT,)))
        assert reset.wait(10)
        answers[0]((1, 2, 3, 4))  # type: ignore[operator]
        assert guest.shim[guest.slot(0, layout.SLOT_DONE)] == 0
        with pytest.raises(RuntimeError, match="twice"):
            answers[0]((1, 2, 3, 4))  # type: ignore[operator]


def test_a_full_line_never_blocks() -> None:
    with Served(Recorder()) as guest:
        guest.bell.notifications(True)
        for _ in range(100_000):
            guest.bell.notify()
