"""LiteBox as the secure world of Debian's kernel, driver, tee-supplicant, libteec and xtest, in QEMU."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from boards import guest
from boards.board import Board
from boards.catalogue import Stage, find_board
from boards.errors import TargetError
from normal_world import Memref, TeeError, Value
from normal_world.libteec import has_c_library
from south.errors import UsageError
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tests.real import debian, xtest
from tests.tas import prof

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
QEMU = "qemu-system-aarch64"
CASES = xtest.reference()
SECONDS = 300.0
COMPILER = "aarch64-linux-gnu-gcc"
STORAGE = UUID("b689f2a7-8adf-477a-9f99-32e90c0ad0a2")
"""xtest's TA that does with persistent objects what it is told."""
REE, RPMB = 0x8000_0000, 0x8000_0100
"""TEE_STORAGE_PRIVATE_REE, TEE_STORAGE_PRIVATE_RPMB (optee_os tee_api_defines_extensions.h)."""
READ = 1
"""TEE_DATA_FLAG_ACCESS_READ."""


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed (Debian: apt-get install qemu-system-arm)")
    try:
        return {"kernel": str(guest.kernel()), "initrd": str(guest.initrd()), "trust": str(guest.trust_key())}
    except UsageError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
def booted(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with Board(find_board("qemu-virt-litebox"), tmp_path_factory.mktemp("run"), images) as board:
        board.advance_to(Stage.TEE)
        yield board


@pytest.mark.parametrize("case", CASES)
def test_xtest(booted: Board, case: str) -> None:
    """Each case with at least as many checks as on a real OP-TEE."""
    done = booted.run(f"xtest -t {case.partition('_')[0]} {case}", SECONDS)
    found = re.search(r"^(\d+) subtests? of which (\d+) failed\r?$", done.output, re.MULTILINE)
    assert found, done.output[-2000:]
    assert (done.exit_code, found[2]) == (0, "0"), done.output[-4000:]
    assert int(found[1]) >= CASES[case] - xtest.VARIES.get(case, 0)


def test_the_rpmb_that_debians_supplicant_emulates(booted: Board) -> None:
    """xtest looks by itself which storage there is. That RPMB is as empty as its supplicant is young."""
    done = booted.run("xtest -t regression 6001", SECONDS)
    assert "Storage id: 80000100" in done.output
    assert "21 subtests of which 0 failed" in done.output


def test_a_guest_without_an_rpmb(images: dict[str, str], tmp_path: Path) -> None:
    if not has_c_library(COMPILER):
        pytest.skip(f"{COMPILER} with a C library (libc6-dev-arm64-cross) is not installed")
    files = tmp_path / "files"
    library = files / "usr/lib/no_rpmb.so"
    library.parent.mkdir(parents=True)
    source = Path(__file__).with_name("no_rpmb.c")
    subprocess.run(
        [COMPILER, "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", source, "-o", library], check=True
    )
    variables = {"kernel": images["kernel"], "trust": images["trust"], "files": str(files)}
    with Board(find_board("qemu-virt-litebox"), tmp_path / "run", variables) as board:
        command = (
            f"killall tee-supplicant; sleep 0.5; LD_PRELOAD=/usr/lib/{library.name} tee-supplicant -d && sleep 0.3"
        )
        assert board.run(command).exit_code == 0
        assert opening(board, "kept", RPMB) == results.STORAGE_NOT_AVAILABLE
        assert creating(board, "kept", RPMB) == results.STORAGE_NOT_AVAILABLE
        assert opening(board, "kept", REE) == results.ITEM_NOT_FOUND
        done = board.run("xtest -t regression 6001", SECONDS)
        assert "14 subtests of which 0 failed" in done.output
        assert "base64" not in (tmp_path / "run/console.log").read_text(), "the agent is in the image"
        image = Path(board.text("${initrd}"))
    image.unlink()


def test_the_rpmb_of_an_emmc(images: dict[str, str], tmp_path: Path) -> None:
    """An object is still there when the machine has been off. (QEMU has then forgotten key and counter.)

    LITEBOX_QEMU names a QEMU from 10.2 on; LITEBOX_SUPPLICANT a tee-supplicant for aarch64 that was built without
    emulation of an RPMB (RPMB_EMU=0).
    """
    qemu, supplicant = os.environ.get("LITEBOX_QEMU"), os.environ.get("LITEBOX_SUPPLICANT")
    if not qemu or not supplicant:
        pytest.skip("no QEMU with an RPMB, or no tee-supplicant for it: LITEBOX_QEMU, LITEBOX_SUPPLICANT")
    files = tmp_path / "files"
    (files / "usr/sbin").mkdir(parents=True)
    shutil.copy(supplicant, files / "usr/sbin/tee-supplicant")
    variables = {"kernel": images["kernel"], "trust": images["trust"], "files": str(files), "qemu": qemu}
    variables["emmc"] = str(tmp_path / "emmc")
    for number in range(2):
        with Board(find_board("qemu-virt-litebox"), tmp_path / f"run{number}", variables) as board:
            assert board.run("test -c /dev/mmcblk0rpmb").exit_code == 0
            assert opening(board, "kept", RPMB) == (results.SUCCESS if number else results.ITEM_NOT_FOUND)
            assert creating(board, "kept", RPMB) == (results.ACCESS_CONFLICT if number else results.SUCCESS)
            done = board.run("xtest -t regression 6001", SECONDS)
            assert "21 subtests of which 0 failed" in done.output
            image = Path(board.text("${initrd}"))
    image.unlink()


def opening(board: Board, name: str, storage: int) -> int:
    """What the TA of xtest's storage cases gets (ta_storage.h: TA_STORAGE_CMD_OPEN), in a session of its own."""
    return asked(board, 0, Memref.input(name.encode()), Value.inout(READ), Value.input(storage))


def creating(board: Board, name: str, storage: int) -> int:
    """TA_STORAGE_CMD_CREATE."""
    content = Memref.input(b"content")
    return asked(board, 4, Memref.input(name.encode()), Value.inout(READ), Value.input(0, storage), content)


def asked(board: Board, command: int, *params: Memref | Value) -> int:
    with board.tee() as tee, tee.open_session(STORAGE) as session:
        try:
            session.invoke(command, *params)
        except TeeError as error:
            return error.result
    return results.SUCCESS


def test_the_driver_goes_and_comes_back(booted: Board) -> None:
    assert booted.run("killall tee-supplicant; sleep 0.5; modprobe -r optee", 60).exit_code == 0
    assert booted.run("test ! -e /dev/tee0").exit_code == 0
    assert booted.run("modprobe optee && sleep 1 && tee-supplicant -d && sleep 0.3", 60).exit_code == 0
    assert "of which 0 failed" in booted.run("xtest -t regression 1004", SECONDS).output


def test_a_supplicant_that_starts_anew(booted: Board) -> None:
    """Files that the old one had open are gone; they are opened anew by their names."""
    assert "of which 0 failed" in booted.run("xtest -t regression 6001", SECONDS).output
    booted.run("killall tee-supplicant; sleep 0.3; tee-supplicant -d; sleep 0.3", 60)
    assert "of which 0 failed" in booted.run("xtest -t regression 6001", SECONDS).output


def test_linux_goes_on_while_a_ta_computes(booted: Board) -> None:
    """1013 counts 720 million times; meanwhile sleeps end in time, and the CPU is mostly idle."""
    booted.run("xtest -t regression 1013 >/tmp/1013 2>&1 &")
    took = booted.run("sleep 0.5; cat /proc/uptime; sleep 3; cat /proc/uptime", 60).output.split()
    elapsed, idle = float(took[2]) - float(took[0]), float(took[3]) - float(took[1])
    assert 2.9 < elapsed < 6
    assert idle > elapsed / 4
    booted.run("wait", SECONDS)


def test_profiles_are_left_in_the_guest(images: dict[str, str], tmp_path: Path) -> None:
    """By Debian's tee-supplicant, in its /tmp."""
    uuid = prof.UUIDS[Arch.AARCH64]
    (tmp_path / "tas").mkdir()
    shutil.copy(prof.HERE / f"{uuid}.ta", tmp_path / "tas")
    variables = {"kernel": images["kernel"], "tas": str(tmp_path / "tas"), "trust": samples.public_key_file()}
    with Board(find_board("qemu-virt-litebox"), tmp_path / "run", variables) as board:
        with board.tee() as tee, tee.open_session(uuid) as session:
            session.invoke(prof.GPROF, Value.inout(1000, 0))
        found = board.run(
            "cd /tmp; ls *.out; head -c 8 gmon-*.out | od -An -tx1; grep -c 'Function graph' ftrace-*.out"
        )
    lines = [line.strip() for line in found.output.splitlines()]
    assert lines == [f"ftrace-{uuid}.out", f"gmon-{uuid}.out", "67 6d 6f 6e 01 00 00 00", "1"]


@pytest.mark.parametrize("append", ["nokaslr mitigations=off", ""])
def test_processors_and_kernel_arguments(images: dict[str, str], tmp_path: Path, append: str) -> None:
    variables = {**images, "smp": "2", "append": append, "cpu": "max,pauth-impdef=on"}
    with Board(find_board("qemu-virt-litebox"), tmp_path, variables) as board:
        board.advance_to(Stage.TEE)
        for case in ("regression_1013", "regression_1003", "regression_6016"):
            done = board.run(f"xtest -t regression {case}", SECONDS)
            assert done.exit_code == 0, done.output[-3000:]


@pytest.mark.parametrize(("cpu", "smp"), [("max", "1"), ("cortex-a57", "2")])
def test_a_newer_qemu(images: dict[str, str], tmp_path: Path, cpu: str, smp: str) -> None:
    """Debian 13's, 10.0, with more of the architecture in `max` than 7.2 has."""
    program, why_not = debian.qemu(tmp_path)
    if program is None:
        pytest.skip(why_not)
    variables = {**images, "qemu": str(program), "cpu": cpu, "smp": smp}
    with Board(find_board("qemu-virt-litebox"), tmp_path / "run", variables) as board:
        board.advance_to(Stage.TEE)
        for case in ("regression_1004", "regression_6001"):
            done = board.run(f"xtest -t regression {case}", SECONDS)
            assert done.exit_code == 0, done.output[-3000:]


@pytest.mark.parametrize("shm", ["reserved", "old"])
def test_memory_set_aside(images: dict[str, str], tmp_path: Path, shm: str) -> None:
    """The driver maps it, has nothing else for calls, and libteec copies what it cannot register."""
    with Board(find_board("qemu-virt-litebox"), tmp_path, {**images, "shm": shm}) as board:
        board.advance_to(Stage.TEE)
        assert board.run("grep -c phys=0x000000005fc00000 /proc/vmallocinfo").output.strip() == "1"
        for case in ("regression_1004", "regression_4001", "regression_6001"):
            done = board.run(f"xtest -t regression {case}", SECONDS)
            assert done.exit_code == 0, done.output[-3000:]


def test_the_guest_starts_anew(images: dict[str, str], tmp_path: Path) -> None:
    with Board(find_board("qemu-virt-litebox"), tmp_path, images) as board:
        board.advance_to(Stage.TEE)
        board.console.send_line("reboot -f")
        board.console.expect("built-in shell", 60)
        board.console.expect(r"# $", 20)
        assert "of which 0 failed" in board.run("sleep 0.5; xtest -t regression 1004", SECONDS).output


def test_nothing_is_left_of_a_machine_that_was_killed(images: dict[str, str], tmp_path: Path) -> None:
    with Board(find_board("qemu-virt-litebox"), tmp_path, images) as board:
        board.advance_to(Stage.TEE)
        pids = _machine(tmp_path)
        assert len(pids) == 2  # ours and QEMU
        os.kill(next(pid for pid in pids if "qemu-system" in _words(pid)[0]), signal.SIGKILL)
        with pytest.raises(TargetError):
            board.run("true", 20)
    deadline = time.monotonic() + 20
    while _machine(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _machine(tmp_path)
    assert not list(tmp_path.glob("*.sock"))


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return [""]


def _machine(folder: Path) -> list[int]:
    """Processes that have this folder in their command line, but the shell that guards them."""
    found = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [
        pid for pid in found if any(str(folder) in word for word in _words(pid)) and "/bin/sh" not in _words(pid)[0]
    ]


def test_how_long_a_call_takes_is_bounded(images: dict[str, str], tmp_path: Path) -> None:
    """A C client on Debian's libteec: prints medians; ten times the figures of a quiet machine would be a defect."""
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    if compiler is None:
        pytest.skip("aarch64-linux-gnu-gcc is not installed (Debian: apt-get install gcc-aarch64-linux-gnu)")
    root = debian.root()
    assert root is not None, debian.why_not()
    library = next((root / debian.LIB_DIR).glob("libteec.so.2.*"))
    program = tmp_path / "files/usr/bin/qemu_client"
    program.parent.mkdir(parents=True)
    include = Path(__file__).parents[2] / "normal_world/libteec/include"
    source = Path(__file__).with_name("qemu_client.c")
    subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", "-Werror", f"-I{include}", source, "-o", program, library], check=True
    )
    tas = tmp_path / "tas"
    tas.mkdir()
    shutil.copy(samples.hello(), tas)
    variables = {
        "kernel": images["kernel"],
        "files": str(tmp_path / "files"),
        "tas": str(tas),
        "trust": str(samples.public_key()),
        "append": "nokaslr mitigations=off",
    }
    with Board(find_board("qemu-virt-litebox"), tmp_path / "run", variables) as board:
        done = board.run("qemu_client", 60)
        image = Path(board.text("${initrd}"))
    image.unlink()
    print(done.output)
    medians = {name: float(number) for name, number in (line.split() for line in done.output.splitlines())}
    assert medians["invoke"] < 1300
    assert medians["time"] < 1900
