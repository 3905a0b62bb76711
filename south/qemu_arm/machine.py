"""The machine: QEMU's virt board with a kernel that knows nothing of us, and our shim under it."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from south.linux_host.child import Child
from south.linux_host.host import StderrConsole
from south.platform import PAGE
from south.qemu_arm import device_tree, layout
from south.qemu_arm.doorbell import Doorbell
from south.qemu_arm.errors import MachineError
from south.qemu_arm.memory import GuestMemory

if TYPE_CHECKING:
    from types import TracebackType

    from south.platform import Console, Monitor
    from south.qemu_arm.device_tree import Conduit

SHIM = Path(__file__).with_name("shim.bin")
SETTLE_SECONDS = 10.0
"""What calls that still run when QEMU has gone get to come back."""

RPMB_SIZE = 2 << 20
"""Of an eMMC's image, at its start (QEMU docs/system/devices/emmc.rst, without boot partitions)."""

_MAX_KERNEL = 512 << 20
"""Bytes of a kernel, unpacked."""
_TREE_ROOM = 4 << 20
"""QEMU puts the device tree behind the initrd, at a boundary of 2 MiB, and gives it at most as much."""
_INITRD_AT_MOST = 128 << 20
"""QEMU puts the initrd there or in the middle of RAM, whichever is lower (hw/arm/boot.c)."""


class Port(NamedTuple):
    """A console of the guest: hvc0, hvc1... backend: QEMU's character device, without its id.

    fds: descriptors that it inherits; path: a socket that is removed when the machine is closed.
    """

    backend: str
    fds: tuple[int, ...] = ()
    path: str | None = None

    @classmethod
    def stdio(cls) -> Port:
        """This process's own terminal; ^C goes to the guest's side only as the terminal's mode has it."""
        return cls("stdio,signal=off")

    @classmethod
    def unix(cls, path: str | os.PathLike[str], wait: bool = True) -> Port:
        """A socket that QEMU listens on; wait: it starts the guest when somebody has connected."""
        name = os.fspath(path)
        escaped = name.replace(",", ",,")
        return cls(f"socket,path={escaped},server=on,wait={'on' if wait else 'off'}", path=name)

    @classmethod
    def fd(cls, end: int) -> Port:
        """A connected stream socket, of which QEMU inherits this end; close yours after `start`."""
        return cls(f"socket,fd={end}", (end,))

    @classmethod
    def nothing(cls) -> Port:
        return cls("null")


class Board(NamedTuple):
    """What to run. memory: bytes of RAM; shared: of them, set aside for calls to the secure world; emmc: image of
    one, its RPMB (`RPMB_SIZE`) before the user's data; reboot: a reset restarts the guest, else it ends QEMU; extra:
    for QEMU's command line."""

    kernel: Path
    initrd: Path | None = None
    command_line: str = ""
    cpus: int = 1
    memory: int = 512 << 20
    shared: int = 0
    model: str = "cortex-a57"
    emmc: Path | None = None
    console: Port = Port.nothing()
    ports: tuple[Port, ...] = ()
    conduit: Conduit = "smc"
    reboot: bool = True
    qemu: str = "qemu-system-aarch64"
    extra: tuple[str, ...] = ()


def read_kernel(path: Path) -> bytes:
    """An arm64 Image, unpacked if it is gzipped. MachineError for anything else."""
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise MachineError(f"{path}: {problem.strerror}") from None
    if raw[:2] == b"\x1f\x8b":
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            raw = unpack.decompress(raw, _MAX_KERNEL)
        except zlib.error as problem:
            raise MachineError(f"{path}: not a gzip file: {problem}") from None
        if unpack.unconsumed_tail:
            raise MachineError(f"{path}: unpacks to more than {_MAX_KERNEL} bytes")
    # Linux Documentation/arch/arm64/booting.rst §4: text_offset, image_size, magic.
    if len(raw) < 64 or raw[56:60] != b"ARM\x64":
        raise MachineError(f"{path}: not an arm64 kernel Image, plain or gzipped (as many a distribution's vmlinuz)")
    offset, size = struct.unpack_from("<2Q", raw, 8)
    if offset or not size:
        raise MachineError(f"{path}: a kernel older than Linux 5.8, which wants to lie at an odd place")
    return raw


class QemuMachine:
    """`south.platform.NormalMachine`. Use as a context manager: what is left at its end is stopped.

    log: where our own failures are told.
    """

    def __init__(self, board: Board, log: Console | None = None) -> None:
        if not 1 <= board.cpus <= layout.MAX_CPUS:
            raise MachineError(f"{board.cpus} CPUs: this board has 1 to {layout.MAX_CPUS}")
        if board.shared % PAGE or not 0 <= board.shared <= board.memory // 4:
            raise MachineError(f"{board.shared} bytes of shared memory: whole pages, and at most a quarter of RAM")
        if shutil.which(board.qemu) is None:
            remedy = (
                "on Debian and Ubuntu: apt-get install qemu-system-arm; Fedora: dnf install qemu-system-aarch64-core"
            )
            raise MachineError(f"{board.qemu} is not installed. {remedy}")
        self.board = board
        self._log = log or StderrConsole()
        self._memory = GuestMemory(board.memory)
        self._line, self._theirs = socket.socketpair()
        self._bell = Doorbell(self._line, self._memory.shim, board.cpus, self._log)
        self._process: Child | None = None

    # --- NormalMachine

    @property
    def memory(self) -> GuestMemory:
        return self._memory

    @property
    def shared(self) -> tuple[int, int] | None:
        """Address and bytes of what is set aside for calls: the end of RAM, where QEMU puts nothing."""
        size = self.board.shared
        return (layout.RAM_BASE + self.board.memory - size, size) if size else None

    def notifications(self, on: bool) -> None:
        self._bell.notifications(on)

    def notify(self) -> None:
        self._bell.notify()

    # --- running it

    @property
    def pid(self) -> int | None:
        """QEMU's, once it was started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start QEMU. The guest waits until `serve` answers. MachineError if something is missing."""
        if self._process is not None:
            raise MachineError("this machine was started before")
        kernel = read_kernel(self.board.kernel)
        room = min(self.board.memory // 2, _INITRD_AT_MOST) - (layout.KERNEL_BASE - layout.RAM_BASE)
        need = max(len(kernel), struct.unpack_from("<Q", kernel, 16)[0])
        if need > room:
            raise MachineError(f"{self.board.kernel}: needs {need} bytes, and this much RAM leaves {room} for it")
        self._check_initrd()
        tree = device_tree.edit(device_tree.dump(self._hardware()), self.board.conduit, self.shared)
        files: list[int] = []
        try:
            for name, content in (("shim", SHIM.read_bytes()), ("kernel", kernel), ("dtb", tree)):
                files.append(_file(name, content))
            shim, image, dtb = files
            fds = [self._memory.fd, self._theirs.fileno(), *files, *(fd for port in self._ports for fd in port.fds)]
            terminal = any(port.backend.partition(",")[0] == "stdio" for port in self._ports)
            command = self._command(shim, image, dtb)
            try:
                self._process = Child(command, fds, own_session=not terminal)
            except OSError as problem:
                raise MachineError(f"{command[0]}: {problem.strerror}") from None
        finally:
            for fd in files:
                os.close(fd)
            # QEMU holds the only copy: when it goes, the line ends.
            self._theirs.close()

    def serve(self, monitor: Monitor) -> int:
        """Answer the guest until QEMU ends; its status. After an interrupt or any failure QEMU is stopped."""
        process = self._process
        if process is None:
            raise MachineError("the machine was not started")
        try:
            self._bell.serve(monitor, SETTLE_SECONDS)
            status = process.wait()
        finally:
            process.stop()
        assert status is not None
        return status

    def said(self) -> str:
        """Start and end of what QEMU complained of."""
        return self._process.said() if self._process else ""

    def stop(self) -> None:
        """End QEMU, and `serve` with it. From any thread."""
        if self._process:
            self._process.stop()

    def close(self) -> None:
        """Stop it and give back memory and descriptors; after `serve` has returned."""
        if self._process:
            self._process.close()
            self._process = None
            for port in self._ports:
                if port.path is not None:  # QEMU removes it, unless it was killed.
                    Path(port.path).unlink(missing_ok=True)
        self._theirs.close()
        self._line.close()

    def __enter__(self) -> QemuMachine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the command line

    @property
    def _ports(self) -> tuple[Port, ...]:
        return (self.board.console, *self.board.ports)

    def _check_initrd(self) -> None:
        """It ends before what is set aside for calls, of which QEMU knows nothing, as does the device tree."""
        initrd, memory = self.board.initrd, self.board.memory
        if initrd is None:
            return
        try:
            size = initrd.stat().st_size
        except OSError as problem:
            raise MachineError(f"{initrd}: {problem.strerror}") from None
        room = memory - min(memory // 2, _INITRD_AT_MOST) - _TREE_ROOM - self.board.shared
        if size > room:
            raise MachineError(f"{initrd}: has {size} bytes, and this much RAM leaves {room} for it")

    def _hardware(self) -> list[str]:
        """What the device tree depends on."""
        board = "virt,virtualization=on,gic-version=3"
        model, cpus = self.board.model, str(self.board.cpus)
        return [self.board.qemu, "-M", board, "-nodefaults", "-display", "none", "-cpu", model, "-smp", cpus]

    def _command(self, shim: int, kernel: int, tree: int) -> list[str]:
        program, machine, board, *rest = self._hardware()
        size = self.board.memory
        command = [program, machine, f"{board},memory-backend=ram", *rest, "-no-user-config", "-accel", "tcg"]
        command += ["-m", f"size={size}B"]
        path = f"/proc/self/fd/{self._memory.fd}"
        command += ["-object", f"memory-backend-file,id=ram,size={size}B,mem-path={path},share=on"]
        command += ["-kernel", f"/proc/self/fd/{shim}", "-dtb", f"/proc/self/fd/{tree}"]
        command += ["-device", f"loader,file=/proc/self/fd/{kernel},addr={layout.KERNEL_BASE:#x},force-raw=on"]
        if self.board.initrd is not None:
            command += ["-initrd", str(self.board.initrd)]
        if self.board.command_line:
            command += ["-append", self.board.command_line]
        command += ["-chardev", f"socket,id=doorbell,fd={self._theirs.fileno()}", "-serial", "chardev:doorbell"]
        if self.board.emmc is not None:
            escaped = str(self.board.emmc).replace(",", ",,")
            command += ["-drive", f"file={escaped},if=none,format=raw,id=emmc", "-device", "sdhci-pci"]
            command += ["-device", f"emmc,drive=emmc,boot-partition-size=0,rpmb-partition-size={RPMB_SIZE}"]
        command += ["-device", "virtio-serial-pci"]
        for number, port in enumerate(self._ports):
            command += ["-chardev", f"{port.backend},id=console{number}"]
            command += ["-device", f"virtconsole,chardev=console{number}"]
        if not self.board.reboot:
            command.append("-no-reboot")
        return [*command, *self.board.extra]


def _file(name: str, content: bytes) -> int:
    """A descriptor that reads as a file of that content."""
    fd = os.memfd_create(f"litebox-{name}", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(content)
    return fd
