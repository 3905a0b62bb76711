"""`litebox-ta with`: exit codes, signals, foreign programs that start themselves."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from normal_world.daemon.status import fetch
from normal_world.libteec import has_c_library
from normal_world.run_with.program import find_program, machine_of
from normal_world.run_with.sweeper import NAME
from south.errors import UsageError
from south.platform import Arch
from south.replacing import SUFFIX
from ta_loader import samples
from tests.normal_world.kit import LITEBOX_TA
from tests.normal_world.plugin_kit import compile_plugin
from tests.threads import eventually

MAIN = "import sys; from ta_loader.cli.with_ import COMMAND; sys.exit(COMMAND.main(sys.argv[1:]))"
SHOW = 'test -S "$LITEBOX_SOCKET" && test -n "$LD_LIBRARY_PATH" && echo "$LITEBOX_SOCKET"'


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", MAIN, *words], capture_output=True, text=True, timeout=60, check=False)


def test_exit_code_environment_and_clean_up() -> None:
    done = run("--", "sh", "-c", f"{SHOW}; exit 7")
    assert done.returncode == 7, done.stderr
    assert done.stdout.strip()
    assert not Path(done.stdout.strip()).parents[1].exists()


def _start(tmp_path: Path, *, group: bool = False) -> tuple[subprocess.Popen[str], Path, int]:
    """A run that lasts: its process, its folder, and its daemon's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "--", "sh", "-c", f"{SHOW}; exec sleep 100"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        start_new_session=group,
    )
    assert process.stdout is not None
    socket = process.stdout.readline().strip()
    return process, Path(socket).parents[1], int(fetch(socket)["pid"])


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("group", [False, True], ids=["alone", "with its group"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_nothing_is_left_of_a_killed_run(tmp_path: Path, number: int, group: bool) -> None:
    process, folder, daemon = _start(tmp_path, group=group)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (os.killpg if group else os.kill)(process.pid, number)
    process.wait(20)
    assert eventually(lambda: not _is_there(daemon), 30)
    assert eventually(lambda: not folder.exists(), 30)
    for child in map(int, children):  # the program: not ours to kill, but a test's
        with contextlib.suppress(ProcessLookupError):
            if Path(f"/proc/{child}/cmdline").exists() and b"sleep" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
    assert eventually(lambda: not any(map(_is_there, map(int, children))), 30)
    assert not list(tmp_path.iterdir())


def test_a_run_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    process, folder, _ = _start(tmp_path)
    old, fresh = (tmp_path / f".{NAME}.{name}{SUFFIX}" for name in ("old", "fresh"))
    for place in (old, fresh):
        (place / "state").mkdir(parents=True)
    for place in (old, folder):
        os.utime(place, (0, 0))
    link = tmp_path / f".{NAME}.link{SUFFIX}"
    (tmp_path / "other").mkdir()
    link.symlink_to(tmp_path / "other")
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "--", "true"], env=os.environ | {"TMPDIR": str(tmp_path)}, timeout=60, check=False
    )
    assert done.returncode == 0
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {folder.name, fresh.name, "other", link.name}
    process.terminate()
    process.communicate(timeout=30)
    assert not folder.exists()


def test_help_of_the_program_is_the_programs() -> None:
    assert run("--", "sh", "--help").stdout != run("--help").stdout


CLIENT = """
import sys
from normal_world import Context, TeeError
try:
    with Context.daemon() as tee, tee.open_session("hello") as session:
        session.invoke(2, 0xBAD)
except TeeError as error:
    print(error.result.name)
"""


def test_how_a_ta_died_and_why_one_was_refused_is_shown(tmp_path: Path) -> None:
    """Without an option; the program itself learns a result, and no more."""
    tas = ("--ta-dir", samples.FOLDER)
    trust = ("--trust", samples.public_key_file())
    program = ("--", sys.executable, "-c", CLIENT)
    died = run(*tas, *trust, *program)
    assert died.stdout == "TEE_ERROR_TARGET_DEAD\n", died.stderr
    assert died.stderr.count("panicked with code 0x00000bad") == 1
    assert "ta_panic+0x" in died.stderr
    assert "registers" not in died.stderr
    assert "listening on" not in died.stderr
    refused = run(*tas, *program)
    assert refused.stdout == "TEE_ERROR_SECURITY\n", refused.stderr
    assert re.search(rf"litebox: TA {samples.HELLO[Arch.AARCH64]}: .*(key|sign)", refused.stderr)
    for options, once in ((("-q",), 0), (("--log", str(tmp_path / "log")), 1), (("-v",), 1)):
        done = run(*tas, *trust, *options, *program)
        assert done.stderr.count("panicked with code 0x00000bad") == once, done.stderr
    assert "registers" in (tmp_path / "log").read_text()


def test_a_killed_program() -> None:
    assert run("--", "sh", "-c", "kill -TERM $$").returncode == 128 + 15


def test_plugins_are_the_daemons(tmp_path: Path) -> None:
    compile_plugin(tmp_path / "plugins")
    (tmp_path / "plugins" / "text").write_text("no plugin")
    log = tmp_path / "log"
    done = run("--plugin-dir", str(tmp_path / "plugins"), "--plugin-timeout", "3", "--log", str(log), "--", "true")
    assert done.returncode == 0, done.stderr
    assert "text: no shared object" in log.read_text()
    assert ".plugin: " not in log.read_text()
    for wrong, says in ((("--plugin-dir", "/nonexistent"), "--plugin-dir /nonexistent: No such file"),
                        (("--plugin-timeout", "soon"), "--plugin-timeout")):  # fmt: skip
        done = run(*wrong, "-v", "--", "true")
        assert done.returncode
        assert says in done.stderr


@pytest.mark.parametrize("command", ["with_", "serve"])
def test_help_tells_of_plugins(command: str) -> None:
    main = MAIN.replace("with_", command)
    done = subprocess.run(
        [sys.executable, "-c", main, "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    for option in ("--plugin-dir DIR", "--plugin-timeout SECONDS", "--sysroot ROOT", "--sockets POLICY"):
        assert option in done.stdout


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such program"):
        find_program("no-such-program-here", str(tmp_path))
    assert machine_of(__file__) is None
    head = b"\x7fELF\x02\x01" + bytes(12)
    (tmp_path / "arm").write_bytes(head + (183).to_bytes(2, "little") + bytes(44))
    (tmp_path / "odd").write_bytes(head + (243).to_bytes(2, "little") + bytes(44))
    (tmp_path / "cut").write_bytes(head)
    assert machine_of(str(tmp_path / "cut")) is None
    assert machine_of(str(tmp_path / "arm")) == "aarch64"
    with pytest.raises(UsageError, match="machine"):
        machine_of(str(tmp_path / "odd"))


@pytest.mark.skipif(
    not (shutil.which("qemu-aarch64") and has_c_library("aarch64-linux-gnu-gcc")),
    reason="needs qemu-aarch64, and aarch64-linux-gnu-gcc with a C library",
)
def test_a_foreign_program_starts_itself(tmp_path: Path) -> None:
    source, program = tmp_path / "again.c", tmp_path / "again"
    source.write_text(
        "#include <stdlib.h>\n"
        'int main(int n, char **v) { setenv("P", v[0], 1); return n > 1 ? system("\\"$P\\"") >> 8 : 9; }\n'
    )
    subprocess.run(["aarch64-linux-gnu-gcc", "-static", "-o", program, source], check=True, timeout=60)
    assert run("--sysroot", str(tmp_path), "--", str(program), "again").returncode == 9


@pytest.mark.parametrize("verbose", [(), ("--verbose",)])
@pytest.mark.parametrize("options", [("--ta-dir", "nothing"), ("--trust", "nothing.pem"), ("--sockets", "rubbish")])
def test_a_mistake_for_the_daemon_has_one_hint(options: tuple[str, str], verbose: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*LITEBOX_TA, "with", *options, *verbose, "--", "true"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert options[1] in done.stderr
    assert done.stderr.count("--help shows more)") <= 1
    assert "serve --help" not in done.stderr or verbose
    for line in done.stderr.splitlines():
        assert line.count("litebox-ta: ") <= 1
