"""What a kernel reads of a program: against pyelftools, and against the kernel of this host."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from north.elf import abi
from north.elf.kernel import ExecError, read_executable
from south.platform import Arch
from tests.north.elf.kit import changed, host_programs, oracle, program, segment_changed

if TYPE_CHECKING:
    from collections.abc import Callable

    from north.elf.kernel import Executable


def check(data: bytes) -> Executable:
    file, found = oracle(data), read_executable(data)
    segments = list(file.iter_segments())
    kinds = {s["p_type"]: s for s in segments}
    assert found.entry == file.header["e_entry"]
    assert found.movable == (file.header["e_type"] == "ET_DYN")
    loads = [(s["p_vaddr"], s["p_offset"], s["p_filesz"], s["p_memsz"]) for s in segments if s["p_type"] == "PT_LOAD"]
    assert [(ph.vaddr, ph.offset, ph.filesz, ph.memsz) for ph in found.loads] == loads
    interpreter = kinds.get("PT_INTERP")
    assert found.interpreter == (None if interpreter is None else interpreter.get_interp_name().encode())
    if "PT_PHDR" in kinds:
        assert found.headers == kinds["PT_PHDR"]["p_vaddr"]
    assert (found.header_size, found.header_count) == (file.header["e_phentsize"], file.header["e_phnum"])
    stack, tls = kinds.get("PT_GNU_STACK"), kinds.get("PT_TLS")
    assert found.executable_stack == (None if stack is None else bool(stack["p_flags"] & abi.PF_X))
    assert (found.tls is None) == (tls is None)
    if found.tls is not None and tls is not None:
        assert (found.tls.vaddr, found.tls.memsz, found.tls.align) == (tls["p_vaddr"], tls["p_memsz"], tls["p_align"])
    return found


def test_programs_of_this_host() -> None:
    paths = host_programs()
    assert len(paths) > 20
    for path in paths[:: max(1, len(paths) // 40)]:
        check(path.read_bytes())


@pytest.mark.fuzz
def test_all_programs_of_this_host() -> None:
    for path in host_programs():
        check(path.read_bytes())


def test_debian_programs(debian_root: Path) -> None:
    found = check((debian_root / "usr/bin/xtest").read_bytes())
    assert found.machine == Arch.AARCH64.elf_machine
    assert found.interpreter == b"/lib/ld-linux-aarch64.so.1"


@pytest.mark.parametrize("options", [("-static",), ("-no-pie",), ("-pie",), ("-z", "execstack")])
@pytest.mark.parametrize("arch", list(Arch))
def test_a_compilers_programs(arch: Arch, options: tuple[str, ...], tmp_path: Path) -> None:
    """Both classes, fixed and movable, with thread-local data and an executable stack."""
    compiler = {
        Arch.AARCH64: "aarch64-linux-gnu-gcc",
        Arch.ARM: "arm-linux-gnueabihf-gcc",
        Arch.X86_64: "x86_64-linux-gnu-gcc",
    }[arch]
    source = "__thread int t[9] = {1}; int main(void) { return t[2]; } void _start(void) { main(); }"
    (tmp_path / "a.c").write_text(source)
    command = [compiler, "-nostdlib", "-Wno-all", *options, "-o", str(tmp_path / "a"), str(tmp_path / "a.c")]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip(f"{compiler} is not installed")
    found = check((tmp_path / "a").read_bytes())
    assert found.tls is not None
    assert found.movable == ("-static" not in options and "-no-pie" not in options)
    assert found.executable_stack is ("execstack" in options)


def test_the_kernel_places_what_is_found() -> None:
    """glibc prints what the kernel handed over, at a random base."""
    data = program()
    done = subprocess.run(["/usr/bin/true"], env={"LD_SHOW_AUXV": "1"}, capture_output=True, text=True, check=True)
    lines = [line.partition(":") for line in done.stdout.splitlines()]
    handed = {name.strip(): value.strip() for name, _, value in lines}
    if "AT_PHDR" not in handed:
        pytest.skip("this host's C library has no LD_SHOW_AUXV")
    found = read_executable(data)
    assert int(handed["AT_PHDR"], 16) - int(handed["AT_ENTRY"], 16) == found.headers - found.entry
    assert (int(handed["AT_PHENT"]), int(handed["AT_PHNUM"])) == (found.header_size, found.header_count)


REFUSED: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "magic": (lambda data: changed(data, magic=0x474C457F), errno.ENOEXEC),
    "relocatable": (lambda data: changed(data, type=1), errno.ENOEXEC),
    "machine": (lambda data: changed(data, machine=0), errno.ENOEXEC),
    "size of headers": (lambda data: changed(data, phentsize=55), errno.ENOEXEC),
    "no headers": (lambda data: changed(data, phnum=0), errno.ENOEXEC),
    "more than 64 KiB of headers": (lambda data: changed(data + bytes(70_000), phnum=1171), errno.ENOEXEC),
    "headers outside": (lambda data: changed(data, phoff=1 << 30), errno.ENOEXEC),
    "truncated header": (lambda data: data[:63], errno.ENOEXEC),
    "header alone": (lambda data: data[:64], errno.ENOEXEC),
    "interpreter of one byte": (lambda data: segment_changed(data, "PT_INTERP", filesz=1), errno.ENOEXEC),
    "long interpreter": (lambda data: segment_changed(data, "PT_INTERP", filesz=4097), errno.ENOEXEC),
    "endless interpreter": (lambda data: segment_changed(data, "PT_INTERP", filesz=20), errno.ENOEXEC),
    "interpreter outside": (lambda data: segment_changed(data, "PT_INTERP", offset=1 << 30), errno.EIO),
    "larger in the file": (lambda data: segment_changed(data, "PT_LOAD", memsz=16), errno.EINVAL),
    "wraps": (lambda data: segment_changed(data, "PT_LOAD", memsz=(1 << 64) - 1), errno.EINVAL),
    "nothing to load": (lambda data: segment_changed(data, "PT_LOAD", type=0x60000000), errno.EINVAL),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_kernel_refuses_what_is_refused(name: str, tmp_path: Path) -> None:
    """With the same error; or, for what it finds while it maps, by killing the new program."""
    change, number = REFUSED[name]
    data = change(program())
    with pytest.raises(ExecError) as refused:
        read_executable(data)
    assert refused.value.number == number
    path = tmp_path / "program"
    path.write_bytes(data)
    path.chmod(0o755)
    if number == errno.EINVAL:
        assert subprocess.run([path], check=False, capture_output=True).returncode < 0
        return
    with pytest.raises(OSError) as failed:
        subprocess.run([path], check=False, capture_output=True)
    assert failed.value.errno == number


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 64 + 13 * 56), st.binary(min_size=1, max_size=8)), max_size=6),
    st.integers(0, 1000),
)
def test_hostile_programs(patches: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(program())
    for at, value in patches:
        data[at : at + len(value)] = value
    for each in (bytes(data), bytes(data[:cut])):
        try:
            found = read_executable(each)
        except ExecError:
            continue
        assert found.interpreter is None or len(found.interpreter) < 4096
        assert all(ph.filesz <= ph.memsz for ph in found.loads)
