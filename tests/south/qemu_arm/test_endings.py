"""How it ends: QEMU killed, we killed, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from south.qemu_arm import machine as machine_module
from south.qemu_arm.errors import MachineError
from south.qemu_arm.machine import Board, Port, QemuMachine
from tests.south.qemu_arm.kit import MEMORY, YIELDING, Recorder, guest, machine, needs_qemu, run
from tests.threads import PATIENCE

pytestmark = needs_qemu


def descriptors() -> set[str]:
    folder = "/proc/self/fd"
    return {f"{fd} {os.readlink(f'{folder}/{fd}')}" for fd in os.listdir(folder) if os.path.lexists(f"{folder}/{fd}")}


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pid: int, seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while running(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not running(pid)


def test_qemu_killed_in_the_middle_of_a_call(tmp_path: Path) -> None:
    kernel = guest("late", tmp_path)
    console = tmp_path / "console"
    before, threads = descriptors(), set(threading.enumerate())
    made = machine(kernel, console=Port.unix(console, wait=False))
    answers = []

    def kill(cpu: int, registers: object, answer: object) -> None:
        answers.append(answer)
        assert made.pid is not None
        os.kill(made.pid, signal.SIGKILL)

    monitor = Recorder({YIELDING + 1: kill})
    with made:
        assert run(made, monitor) == -signal.SIGKILL
        pid = made.pid
        made.notify()
        made.notifications(True)
    assert pid is not None
    assert gone(pid)
    assert monitor.resets == 2, "at the start, and at the end"
    answers[0]((0, 0, 0, 0))  # type: ignore[operator]
    assert not console.exists()
    assert set(threading.enumerate()) == threads
    assert not {
        line for line in descriptors() - before if "socket" in line or ("litebox" in line and "litebox-shm" not in line)
    }


HOST = """
import sys
from pathlib import Path
from south.qemu_arm.machine import Board, QemuMachine
class Waits:
    def call(self, cpu, registers, answer):
        print(made.pid, flush=True)
    def may_block(self, function): return True
    def interrupted(self, cpu): pass
    def reset(self): pass
made = QemuMachine(Board(Path(sys.argv[1]), memory=64 << 20))
made.start()
made.serve(Waits())
"""


def test_qemu_goes_when_we_are_killed(tmp_path: Path) -> None:
    kernel = guest("late", tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOST, str(kernel)], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        assert running(pid)
        host.kill()
        assert gone(pid)


def test_qemu_refuses(tmp_path: Path) -> None:
    kernel = guest("reset", tmp_path)
    with QemuMachine(Board(kernel, memory=MEMORY, model="no-such-cpu")) as made:
        with pytest.raises(MachineError, match="no-such-cpu"):
            made.start()
    with machine(kernel, extra=("-no-such-option",)) as made:
        assert run(made, Recorder()) == 1
        assert "no-such-option" in made.said()


def test_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MachineError, match="apt-get install qemu-system-arm"):
        QemuMachine(Board(tmp_path / "kernel", qemu="qemu-system-nowhere"))
    with pytest.raises(MachineError, match="1 to 16"):
        QemuMachine(Board(tmp_path / "kernel", cpus=17))
    monkeypatch.setitem(sys.modules, "fdt", None)
    with machine(guest("reset", tmp_path)) as made:
        with pytest.raises(MachineError, match=r"pip install 'fdt>="):
            made.start()


def test_an_initrd_that_does_not_fit(tmp_path: Path) -> None:
    kernel, initrd = guest("reset", tmp_path), tmp_path / "initrd"
    with machine(kernel, initrd=initrd) as made, pytest.raises(MachineError, match="initrd: No such file"):
        made.start()
    initrd.touch()
    os.truncate(initrd, MEMORY // 2 - (6 << 20))
    with machine(kernel, initrd=initrd) as made:
        assert run(made, Recorder()) == 0
    with machine(kernel, initrd=initrd, shared=4 << 20) as made, pytest.raises(MachineError, match="leaves 25165824"):
        made.start()


def test_kernels_that_are_none(tmp_path: Path) -> None:
    import gzip

    image = guest("reset", tmp_path).read_bytes()
    file = tmp_path / "given"
    for good in (image, gzip.compress(image)):
        file.write_bytes(good)
        assert machine_module.read_kernel(file) == image
    for bad in (b"", b"MZ" + bytes(100), b"\x1f\x8bnot gzip at all", image[:8] + b"\0\0\x08" + image[11:]):
        file.write_bytes(bad)
        with pytest.raises(MachineError, match="given"):
            machine_module.read_kernel(file)
    with pytest.raises(MachineError, match="No such file"):
        machine_module.read_kernel(tmp_path / "nowhere")
