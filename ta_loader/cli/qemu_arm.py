"""`litebox-ta qemu-arm`: boot an arm64 kernel in QEMU, and be its secure world."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from normal_world.host.compose import Host
from normal_world.host.images import ToldProblems
from south.errors import UsageError
from south.linux_host.log import STDERR, Log
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option, integer, size
from ta_loader.cli.world_options import WORLD_OPTIONS, read_setup
from ta_loader.outputs import require_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from normal_world.host.setup import Setup
    from south.platform import Console
    from south.qemu_arm.machine import Port, QemuMachine
    from ta_loader.cli.options import Arguments
    from tee.message.monitor import MessageMonitor
    from tee.message.services import RpcNormalWorld
    from tee.records import Crash
    from tee.world import SecureWorld

_UNIX = "unix:"
MAX_MEMORY = 1 << 40
EMMC_SIZE = 32 << 20
"""User data of an eMMC that is made; QEMU wants a power of two."""
SHARED_SIZE = 4 << 20
"""Set aside for calls where there is no other shared memory; OP-TEE's boards have 1 to 4 MiB."""


PATIENCE = 1.0
"""Seconds that a call waits for whoever reads a log, once."""


def _log_to(descriptor: int) -> Log:
    file = os.fdopen(descriptor, "w", encoding="utf-8", closefd=False)
    return Log(lambda: file, PATIENCE)


@contextlib.contextmanager
def _secure_log(where: str | None) -> Iterator[Console | None]:
    """Where the secure world's log goes. unix:PATH: to whoever connects, for whom the start waits."""
    if where is None:
        yield None
    elif where.startswith(_UNIX):
        path = _socket_of(where, "--secure-log")
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(path)
            except OSError as problem:
                raise UsageError(f"--secure-log {where}: {problem.strerror}") from None
            try:
                listener.listen(1)
                line, _ = listener.accept()
            finally:
                os.unlink(path)
        with line:
            yield _log_to(line.fileno())
    else:
        require_file(where, "--secure-log")
        with open(where, "ab", buffering=0) as file:
            yield _log_to(file.fileno())


def _socket_of(where: str, option: str) -> str:
    path = where.removeprefix(_UNIX)
    if not path:
        raise UsageError(f"{option} {where}: names no socket; write unix:PATH")
    return path


def _port(where: str | None) -> Port:
    from south.qemu_arm.machine import Port

    if where is None or where == "stdio":
        return Port.stdio()
    if where.startswith(_UNIX):
        return Port.unix(_socket_of(where, "--console"))
    raise UsageError(f"--console {where}: say stdio, or unix:PATH")


def _emmc(name: str | None) -> Path | None:
    """The image of that name, made if it is not there."""
    from south.qemu_arm.machine import RPMB_SIZE

    if name is None:
        return None
    path = Path(name)
    if not path.exists():
        try:
            with path.open("xb") as file:
                file.truncate(RPMB_SIZE + EMMC_SIZE)
        except OSError as problem:
            raise UsageError(f"--emmc {name}: {problem.strerror}") from None
    return path


class Worlds:
    """A secure world for each start of the guest."""

    def __init__(self, setup: Setup, console: Console | None) -> None:
        self._setup = setup
        self._console = console

    def make(self, normal: RpcNormalWorld) -> SecureWorld:
        host = Host(
            self._setup,
            guest=normal,
            on_crash=self._tell,
            interruptible=False,
            console=self._console,
        )
        host.images.problems = ToldProblems(self.report)
        return host.world

    def _tell(self, crash: Crash) -> None:
        from tee.crash import crash_lines

        self.report("\n".join(crash_lines(crash)) + "\n")

    def report(self, text: str) -> None:
        if self._console is not None:
            self._console.write(text)
        else:
            STDERR.write(text)


def run(arguments: Arguments) -> int:
    from south.qemu_arm.errors import MachineError
    from south.qemu_arm.machine import Board, QemuMachine
    from tee.abi import optee_smc
    from tee.message.monitor import MessageMonitor

    STDERR.patience = PATIENCE
    setup = read_setup(arguments)
    kinds = {"dynamic": optee_smc.MODERN, "reserved": optee_smc.RESERVED_ONLY, "old": optee_smc.OLD}
    shm = arguments.one("--shm") or "dynamic"
    if shm not in kinds:
        raise UsageError(f"--shm {shm}: say {', '.join(kinds)}")
    kernel = arguments.one("--kernel")
    if kernel is None:
        raise UsageError("name a kernel with --kernel; `litebox-ta board guest kernel` makes one of Debian's packages")
    initrd, memory = arguments.one("--initrd"), arguments.one("--memory-size")
    smp = arguments.one("--smp")
    board = Board(
        kernel=Path(kernel),
        initrd=None if initrd is None else Path(initrd),
        command_line=f"console=hvc0 panic=-1 {arguments.one('--append') or ''}".strip(),
        cpus=1 if smp is None else integer(smp, "--smp", 1, 8),
        memory=512 << 20 if memory is None else size(memory, "--memory-size", MAX_MEMORY),
        shared=0 if shm == "dynamic" else SHARED_SIZE,
        model=arguments.one("--cpu") or "cortex-a57",
        emmc=_emmc(arguments.one("--emmc")),
        console=_port(arguments.one("--console")),
        reboot=not arguments.switch("--no-reboot"),
        qemu=arguments.one("--qemu") or "qemu-system-aarch64",
        extra=tuple(arguments.words),
    )
    try:
        with _secure_log(arguments.one("--secure-log")) as console, QemuMachine(board, console) as machine:
            worlds = Worlds(setup, console)
            monitor = MessageMonitor(
                machine, worlds.make, reserved=machine.shared, abilities=kinds[shm], report=worlds.report
            )
            try:
                return _serve(machine, monitor)
            finally:
                monitor.close()
    except MachineError as problem:
        raise UsageError(str(problem)) from None


def _serve(machine: QemuMachine, monitor: MessageMonitor) -> int:
    """QEMU's exit code. SIGTERM stops it; so does Ctrl-C, unless the guest has the terminal."""
    # On a thread of its own: the main thread may hold a lock that stopping takes.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=machine.stop).start())
    machine.start()
    status = machine.serve(monitor)
    said = machine.said()
    if status > 0:
        sys.stderr.write(f"litebox-ta: QEMU ended with status {status}{': ' if said else ''}{said}\n")
        return exits.USAGE
    return exits.OK


COMMAND = Command(
    name="qemu-arm",
    summary="Boot an unmodified arm64 kernel in QEMU, whose secure world this process is.",
    words=("[QEMU-OPTION...]",),
    options=(
        Option("--kernel", "FILE", "arm64 Image, plain or gzipped (most distributions' vmlinuz)"),
        Option("--initrd", "FILE", "initramfs"),
        Option("--append", "TEXT", "more kernel arguments"),
        Option("--console", "WHERE", "the guest's console hvc0: stdio (default), or unix:PATH to listen on"),
        Option("--secure-log", "WHERE", "the secure world's log: a file, or unix:PATH to listen on (default: stderr)"),
        Option("--smp", "N", "CPUs (default 1)"),
        Option("--cpu", "MODEL", "QEMU's CPU model (default cortex-a57)"),
        Option("--memory-size", "SIZE", "the guest's RAM (default 512M)"),
        Option(
            "--shm",
            "KIND",
            "shared memory: dynamic (default); reserved: 4 MiB alone, as OP-TEE without CFG_CORE_DYN_SHM; old: the "
            "same without all else that OP-TEE's drivers learned since 2.0",
        ),
        Option(
            "--emmc",
            "FILE",
            "an eMMC with an RPMB, in this file, which is made if it is not there (an empty name: none); needs QEMU "
            "10.2 or later",
            blank=True,
        ),
        Option("--no-reboot", "", "a reset of the guest ends QEMU instead of starting it again"),
        Option("--qemu", "PROGRAM", "default qemu-system-aarch64"),
        *WORLD_OPTIONS,
    ),
    run=run,
    epilog="""\
The kernel's own `optee` driver finds the secure world. TAs, trusted storage, sockets and plugins come from the guest's
tee-supplicant; TAs in a --ta-dir come first. Words after -- go to QEMU.

examples:
  litebox-ta qemu-arm --kernel "$(litebox-ta board guest kernel)" --initrd "$(litebox-ta board guest initrd)" \\
      --trust "$(litebox-ta board guest key)"
  litebox-ta board run qemu-virt-litebox -- xtest 1001      boots that guest, runs a command there, and ends
  litebox-ta qemu-arm --kernel Image --initrd rootfs.cpio.gz --smp 2 --append 'quiet' -- -device virtio-rng-pci
""",
)
