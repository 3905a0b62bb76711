"""Test kit: serial lines that lose, double, change and delay bytes, and a board that hangs where it is told to.

    with FakeLine(link_maker("process:/bin/sh -i"), Faults(drop=0.01), seed=1) as line:
        console = Console("uart", line.make, Log())

`python -m boards.testing` is a board in a process, for descriptions with power kind "qemu": it prints the stages of a
boot to a Unix socket and then is a shell. `fake_board` writes such a description.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
import time
import tty
from typing import TYPE_CHECKING, NamedTuple

from boards.console_link import DescriptorLink, ProcessLink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from boards.console_link import Link

POLL = 0.02

BOOT: tuple[tuple[str, str], ...] = (
    ("rom", "BL1: v1.0\r\nBL1: loading BL2\r\n"),
    ("firmware", "I/TC: OP-TEE version: fake\r\nI/TC: Primary CPU switching to normal world boot\r\n"),
    ("bootloader", "U-Boot 2026.01\r\nHit any key to stop autoboot:  2 \r\n"),
    ("kernel", "[    0.000000] Booting Linux on physical CPU 0x0\r\n[    0.100000] smp: Bringing up\r\n"),
)
"""What the fake board prints, by stage; then it is a shell."""


class Faults(NamedTuple):
    """Chances of each byte, in either direction: lost, sent twice, one of its bits inverted. delay: seconds at most,
    for each piece that is passed on."""

    drop: float = 0.0
    double: float = 0.0
    garble: float = 0.0
    delay: float = 0.0

    def spoil(self, data: bytes, dice: random.Random) -> bytes:
        out = bytearray()
        for byte in data:
            if dice.random() < self.drop:
                continue
            if dice.random() < self.garble:
                byte ^= 1 << dice.randrange(8)
            out += bytes([byte]) * (1 + (dice.random() < self.double))
        return bytes(out)


class FakeLine:
    """A pty whose other end is `device`, through a line with faults. `path` is a serial port to open.

    seed: the same faults each time. `unplug` and `plug` are what a USB adapter does to its port.
    """

    def __init__(self, device: Callable[[], Link], faults: Faults = Faults(), seed: int = 0) -> None:  # noqa: B008
        self._device = device()
        self._faults = faults
        self._dice = random.Random(seed)
        self._ended = threading.Event()
        self._plugged = threading.Event()
        self._master, self._slave = os.openpty()
        # Whoever opens it sets it raw; until then it must not echo what the device says back to the device.
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._near = DescriptorLink(self._master)
        self._plugged.set()
        self._threads = [
            threading.Thread(target=self._pump, args=ends, daemon=True)
            for ends in ((self._near, self._device), (self._device, self._near))
        ]

    def __enter__(self) -> FakeLine:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._near.close()
        os.close(self._slave)
        self._device.close()

    def make(self) -> Link:
        """Opens the line without pyserial, as long as it is plugged in."""
        if not self._plugged.is_set():
            raise OSError(f"{self.path}: no such device")
        return _Pluggable(os.open(self.path, os.O_RDWR | os.O_NOCTTY), self._plugged)

    def unplug(self) -> None:
        self._plugged.clear()

    def plug(self) -> None:
        self._plugged.set()

    def _pump(self, source: Link, sink: Link) -> None:
        while not self._ended.is_set():
            try:
                data = source.read(POLL)
                if data and self._plugged.is_set():
                    if self._faults.delay:
                        time.sleep(self._dice.random() * self._faults.delay)
                    sink.write(self._faults.spoil(data, self._dice))
            except OSError:
                return


class _Pluggable(DescriptorLink):
    def __init__(self, descriptor: int, plugged: threading.Event) -> None:
        super().__init__(descriptor)
        self._plugged = plugged

    def read(self, seconds: float) -> bytes:
        if not self._plugged.is_set():
            raise OSError("unplugged")
        return super().read(seconds)

    def write(self, data: bytes) -> None:
        if not self._plugged.is_set():
            raise OSError("unplugged")
        super().write(data)


class NoisyLink:
    """A line to a device whose kernel and OP-TEE speak on it, so often a second, at any byte of what the device says.

    The messages carry the kernel's time. `said` counts them.
    """

    def __init__(self, device: Link, rate: float = 50.0, seed: int = 0) -> None:
        self._device = device
        self._dice = random.Random(seed)
        self._rest = 1.0 / rate
        self._next = time.monotonic()
        self.said = 0

    def read(self, seconds: float) -> bytes:
        data = self._device.read(max(0.0, min(seconds, self._next - time.monotonic())))
        out = bytearray(data)
        while time.monotonic() >= self._next:
            self._next += self._dice.uniform(0.0, 2.0) * self._rest
            at = self._dice.randint(0, len(out)) if len(out) == len(data) else len(out)
            out[at:at] = self._message()
        return bytes(out)

    def write(self, data: bytes) -> None:
        self._device.write(data)

    def close(self) -> None:
        self._device.close()

    def _message(self) -> bytes:
        self.said += 1
        uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
        return self._dice.choice(
            (
                f"[{uptime:12.6f}] usb 1-1: foreign message {self.said}\r\n",
                f"[{uptime:12.6f}][  T{self._dice.randint(1, 999)}] foreign message {self.said}\r\n",
                f"D/TC:? 0 tee_ta_invoke_command:798 foreign message {self.said}\r\n",
                f"I/TA: foreign message {self.said}\r\n",
            )
        ).encode()


def fake_board(folder: Path, *, name: str = "fake", hang: str = "", last: str = "", timeout: float = 10.0) -> Path:
    """Write the description of a board in a process. hang: the stage that never comes. last: text after the kernel's.

    timeout: seconds of each stage.
    """
    path = folder / f"{name}.toml"
    argv = [sys.executable, "-m", "boards.testing", "${run}/uart.sock", hang, last]
    stages = "".join(
        f"[stages.{stage}]\npattern = {_toml(pattern)}\ntimeout = {timeout}\n"
        for stage, pattern in (
            ("rom", "BL1: v"),
            ("firmware", "Primary CPU switching"),
            ("bootloader", "stop autoboot"),
            ("kernel", "Booting Linux"),
        )
    )
    path.write_text(
        f'schema = 1\nsummary = "fake board"\n'
        f'[consoles.normal]\nlink = "unix:${{run}}/uart.sock"\n'
        f'[power]\nkind = "qemu"\ncommand = [{", ".join(map(_toml, argv))}]\n'
        f"{stages}"
        f'[shell]\nprompt = "fake[#$] ?$"\nlogin = "login: $"\nuser = "root"\ntimeout = {timeout}\n'
        f'[stages.tee]\nrun = ["test -n \\"$FAKE_TEE\\""]\ntimeout = {timeout}\n'
    )
    return path


def _toml(text: str) -> str:
    """A basic string (TOML 1.0 §String)."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in text) + '"'


def main(path: str, hang: str, last: str) -> None:
    """The fake board: serves one console at `path`, and lives until it is killed or the console leaves."""
    with socket.socket(socket.AF_UNIX) as server:
        if os.path.exists(path):
            os.unlink(path)  # of one that was killed
        server.bind(path)
        server.listen(1)
        line, _ = server.accept()
    try:
        for stage, text in BOOT:
            if stage == hang:
                time.sleep(86400)
            line.sendall(text.encode())
            time.sleep(0.01)
        line.sendall(last.encode())
        if hang == "shell":
            time.sleep(86400)
        line.sendall(b"fake login: ")
        while not line.recv(64).endswith(b"\n"):
            pass
        _shell(line, "" if hang == "tee" else "yes")
    finally:
        line.close()
        os.unlink(path)


def _shell(line: socket.socket, tee: str) -> None:
    environment = ["env", "PS1=fake# ", f"FAKE_TEE={tee}", "ENV="]
    shell = ProcessLink([*environment, "/bin/sh", "-i"])
    far = DescriptorLink(line.detach())

    def upwards() -> None:
        try:
            while True:
                far.write(shell.read(1.0))
        except OSError:
            os._exit(0)  # powered off from within

    threading.Thread(target=upwards, daemon=True).start()
    try:
        while True:
            shell.write(far.read(1.0))
    except OSError:
        shell.close()


if __name__ == "__main__":
    main(*sys.argv[1:4])
