"""Boards that labgrid describes: with labgrid installed, in an environment of its own, and without it."""

from __future__ import annotations

import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
import venv
from contextlib import ExitStack
from pathlib import Path

import pytest

from boards import guest
from boards.board import Board
from boards.catalogue import read_board
from boards.console_link import link_maker
from boards.errors import TargetError
from boards.labgrid import Place
from south.errors import UsageError

VERSION = "26.0.1"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = """\
targets:
  main:
    resources:
      RawSerialPort:
        port: {port}
    drivers:
      SerialDriver:
        name: uart
      ExternalPowerDriver:
        cmd_on: sh -c 'echo on >>{folder}/power; echo >{port}'
        cmd_off: sh -c 'echo off >>{folder}/power'
  shell:
    drivers:
      ExternalConsoleDriver:
        cmd: sh -c 'PS1="lab# " exec sh -i 2>&1'
"""
BOARD = """\
schema = 1
summary = "a board of labgrid's"
[variables.env]
help = "labgrid's environment"
[variables.target]
help = "its target"
default = "main"
[consoles.normal]
link = "labgrid:${env}#${target}"
[power]
kind = "labgrid"
environment = "${env}"
target = "main"
settle = 0.1
[shell]
prompt = '[#$] ?$'
timeout = 20
"""
POWER = """\
environment = "${env}"
target = "main"
settle = 0.1
"""
SCRIPT = """
import sys
from pathlib import Path
from boards.board import Board
from boards.catalogue import read_board
from boards.console_link import link_maker
from boards.testing import FakeLine

folder = Path(sys.argv[1])
env = folder / "env.yaml"
with FakeLine(link_maker("process:/bin/sh -i")) as line:
    env.write_text(env.read_text().format(port=line.path, folder=folder))
    with Board(read_board(folder / "lab.toml"), folder / "run", {"env": str(env)}) as board:
        board.advance_to("shell")
        print(board.run("echo over labgrid; (exit 7)")[1:3])
        board.advance_to("off")
        board.advance_to("shell")
        print(board.run("i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done").output.count("line"))
    with Board(read_board(folder / "lab.toml"), folder / "run2", {"env": str(env), "target": "shell"}) as board:
        board.advance_to("shell")
        print(board.run("echo another console; (exit 5)")[1:3])
"""


QEMU = """\
targets:
  main:
    drivers:
      QEMUDriver:
        qemu_bin: qemu
        machine: virt
        cpu: cortex-a57
        memory: 512M
        kernel: kernel
        boot_args: "console=ttyAMA0 panic=-1"
        extra_args: "-nic none -initrd {initrd}"
tools:
  qemu: {qemu}
images:
  kernel: {kernel}
"""
PLACE = """\
targets:
  main:
    resources:
      RemotePlace:
        name: desk
    drivers:
      SerialDriver: {{}}
options:
  coordinator_address: "{coordinator}"
"""
EXPORTER = """\
bench:
  NetworkSerialPort:
    host: 127.0.0.1
    port: {port}
    protocol: raw
"""
RUN = """
import sys
from pathlib import Path
from boards.board import Board
from boards.catalogue import read_board

folder = Path(sys.argv[1])
with Board(read_board(folder / "lab.toml"), folder / "run", {"env": str(folder / "env.yaml")}) as board:
    for _ in range(int(sys.argv[2])):
        board.advance_to("off")
        board.advance_to("shell")
        print(board.run("echo over labgrid; (exit 7)")[1:3])
"""


@pytest.fixture(scope="session")
def labgrid_python() -> str:
    """The interpreter of an environment with labgrid, made once and kept outside the checkout."""
    cache = Path(os.environ.get("LITEBOX_CACHE") or Path.home() / ".cache" / "litebox-ta")
    folder = cache / f"labgrid-{VERSION}-{sys.version_info[0]}.{sys.version_info[1]}"
    python, done = folder / "bin/python", folder / ".complete"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"labgrid=={VERSION}"]
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("labgrid cannot be installed: pip took too long")
        if made.returncode:
            pytest.skip(f"labgrid cannot be installed: {made.stderr.strip().splitlines()[-1:]}")
        done.touch()
    return str(python)


def _run(python: str, script: str, folder: Path, *arguments: str) -> list[str]:
    """What a script prints in labgrid's environment, with this checkout's packages."""
    done = subprocess.run(
        [python, "-c", script, str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.real
def test_a_board_of_labgrids(labgrid_python: str, tmp_path: Path) -> None:
    """A serial port, two power drivers and a program as a console, all of labgrid's."""
    (tmp_path / "env.yaml").write_text(ENVIRONMENT)
    (tmp_path / "lab.toml").write_text(BOARD)
    assert _run(labgrid_python, SCRIPT, tmp_path) == ["(7, 'over labgrid\\n')", "500", "(5, 'another console\\n')"]
    # It is off before it is turned on, whatever it was; and at the end, whoever had it.
    words = (tmp_path / "power").read_text().split()
    assert words[:5] == ["off", "on", "off", "off", "on"]
    assert words[-1] == "off"


@pytest.mark.slow
@pytest.mark.real
def test_a_qemu_of_labgrids(labgrid_python: str, tmp_path: Path) -> None:
    """Its QEMUDriver is the console and the power at once: Debian's kernel boots in it, twice."""
    qemu = shutil.which("qemu-system-aarch64")
    if qemu is None:
        pytest.skip("qemu-system-aarch64 is not installed")
    try:
        parts = {"kernel": guest.kernel(), "initrd": guest.initrd()}
    except UsageError as problem:
        pytest.skip(f"no kernel of Debian's: {problem}")
    (tmp_path / "env.yaml").write_text(QEMU.format(qemu=qemu, **parts))
    (tmp_path / "lab.toml").write_text(BOARD.replace("timeout = 20", "timeout = 90"))
    assert _run(labgrid_python, RUN, tmp_path, "2") == ["(7, 'over labgrid\\n')"] * 2


class _ShellOnTheNetwork(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        end = self.request
        subprocess.run(["/bin/sh", "-i"], stdin=end, stdout=end, stderr=end, env={"PS1": "desk# "}, check=False)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _until_it_works(*command: str) -> None:
    """A command of labgrid's client, once its servers are there."""
    deadline = time.monotonic() + 60
    while (done := subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)).returncode:
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(0.3)


@pytest.mark.slow
@pytest.mark.real
def test_a_place_of_a_coordinator(labgrid_python: str, tmp_path: Path) -> None:
    """A serial port on the network that labgrid's exporter offers, at a place that its client has acquired."""
    tools = Path(labgrid_python).parent
    coordinator = f"127.0.0.1:{_free_port()}"
    (tmp_path / "env.yaml").write_text(PLACE.format(coordinator=coordinator))
    (tmp_path / "lab.toml").write_text(BOARD.replace('kind = "labgrid"', 'kind = "none"').replace(POWER, ""))
    with ExitStack() as stack:
        line = stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), _ShellOnTheNetwork))
        line.daemon_threads = True
        threading.Thread(target=line.serve_forever, daemon=True).start()
        stack.callback(line.shutdown)
        (tmp_path / "exporter.yaml").write_text(EXPORTER.format(port=line.server_address[1]))
        servers = [
            ["labgrid-coordinator", "-l", coordinator],
            ["labgrid-exporter", "-c", coordinator, "--name", "lab", str(tmp_path / "exporter.yaml")],
        ]
        log = stack.enter_context((tmp_path / "labgrid.log").open("wb"))
        client = [str(tools / "labgrid-client"), "-x", coordinator, "-p", "desk"]
        for name, *words in servers:
            server = subprocess.Popen([tools / name, *words], stdout=log, stderr=log, cwd=tmp_path)
            stack.callback(server.wait, 30)
            stack.callback(server.terminate)
            if name == "labgrid-coordinator":
                _until_it_works(*client, "create")
        _until_it_works(*client, "add-match", "lab/bench/NetworkSerialPort")
        _until_it_works(*client, "acquire")
        assert _run(labgrid_python, RUN, tmp_path, "1") == ["(7, 'over labgrid\\n')"]


def test_places() -> None:
    assert Place.of("/lab/env.yaml") == Place("/lab/env.yaml", "main", "")
    assert Place.of("env.yaml#dut/uart") == Place("env.yaml", "dut", "uart")
    with pytest.raises(UsageError, match="write labgrid:FILE"):
        link_maker("labgrid:#main")


def test_without_labgrid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told what to install, and nothing of ours needs it before."""
    monkeypatch.setitem(sys.modules, "labgrid", None)
    path = tmp_path / "lab.toml"
    path.write_text(BOARD)
    with Board(read_board(path), tmp_path / "run", {"env": "env.yaml"}) as board:
        with pytest.raises((UsageError, TargetError), match=r"pip install 'labgrid>=24"):
            board.advance_to("shell")
        board.failure = None
        board._opened = False  # its power cannot be turned off either
