"""Static Linux programs on x86-64, served by a table of a few calls (linux.py): the engine knows no TEE."""

from __future__ import annotations

import platform
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from south.engine.unicorn import models
from south.platform import Arch
from tests.south.linux import FIVE, GLIBC, Exited, Process

if TYPE_CHECKING:
    from pathlib import Path

COMPILERS = ("x86_64-linux-gnu-gcc", "gcc") if platform.machine() == "x86_64" else ("x86_64-linux-gnu-gcc",)
FLAGS = ("-static", "-O2", "-Wall", "-Wextra", "-Werror")

FREESTANDING = r"""
static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "+a"(number)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return number;
}

__attribute__((noreturn)) void run(long argc, char **argv)
{
    static const char line[] = "hello, 0\n";
    static char *block[2];
    char *text = (char *)call(9, 0, 4096, 3, 0x22, -1, 0);       /* mmap */
    char *end = (char *)call(12, 0, 0, 0, 0, 0, 0);              /* brk */
    call(12, (long)(end + 4096), 0, 0, 0, 0, 0);
    block[0] = text;
    block[1] = end;
    call(158, 0x1002, (long)block, 0, 0, 0, 0);                  /* arch_prctl(ARCH_SET_FS) */
    call(158, 0x1001, (long)(block + 1), 0, 0, 0, 0);            /* ARCH_SET_GS */
    char *by_fs, *by_gs;
    __asm__("movq %%fs:0, %0" : "=r"(by_fs));
    __asm__("movq %%gs:0, %0" : "=r"(by_gs));
    for (unsigned i = 0; i < sizeof line; i++)
        by_fs[i] = by_gs[i] = line[i];
    by_fs[7] += argc + argv[0][0] - 'a';
    call(1, 1, (long)by_fs, sizeof line - 1, 0, 0, 0);           /* write */
    call(60, by_gs[7] - '0' + 5, 0, 0, 0, 0, 0);                 /* exit */
    __builtin_unreachable();
}

__asm__(".globl _start\n_start: mov (%rsp), %rdi\n lea 8(%rsp), %rsi\n and $-16, %rsp\n call run\n");
"""

HELLO = r"""
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __thread int counter = 40;

int main(int argc, char **argv)
{
    char *big = malloc(1 << 20), *small = malloc(10);
    volatile double two = 2;
    volatile long double third = 1.0L / 3;

    memset(big, 'x', 1 << 20);
    strcpy(small, argv[argc - 1]);
    printf("hello, %s: %zu %d %.6f %.15Lf %.3e\n", small, strlen(big + 5) - strlen(big + 9), counter += argc,
           sqrt(two), third, two * 1e100);
    fprintf(stderr, "%s\n", strchr("to stderr", 's'));
    free(big);
    return argc + 5;
}
"""


def _built(folder: Path, name: str, source: str, *flags: str) -> bytes:
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        pytest.skip("needs gcc for x86-64 (Debian: gcc-x86-64-linux-gnu)")
    (folder / f"{name}.c").write_text(source)
    command = [compiler, *FLAGS, f"{name}.c", "-o", name, *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return (folder / name).read_bytes()


@pytest.fixture(scope="module")
def freestanding(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    flags = ("-ffreestanding", "-nostdlib", "-fno-stack-protector", "-no-pie")
    return _built(tmp_path_factory.mktemp("five"), "five", FREESTANDING, *flags)


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _built(tmp_path_factory.mktemp("glibc"), "hello", HELLO, "-lm")


@pytest.mark.parametrize("model", models(Arch.X86_64))
def test_a_program_says_hello_by_five_calls(freestanding: bytes, model: str) -> None:
    assert Process(freestanding, FIVE, model).run(b"a") == Exited(5, b"hello, 1\n", (9, 12, 12, 158, 158, 1, 60))
    assert Process(freestanding, FIVE, model).run(b"b", b"more").output == b"hello, 3\n"


@pytest.mark.parametrize("model", models(Arch.X86_64))
def test_a_static_program_of_glibc_says_hello(hello: bytes, tmp_path: Path, model: str) -> None:
    ran = Process(hello, GLIBC, model).run(b"hello", b"world")
    assert ran.status == 7
    assert ran.output == b"stderr\nhello, world: 4 42 1.414214 0.333333333333333 2.000e+100\n"
    if platform.machine() == "x86_64":  # the same on the processor itself
        file = tmp_path / "hello"
        file.write_bytes(hello)
        file.chmod(0o755)
        native = subprocess.run([file, "world"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert sorted(native.stdout.splitlines()) == sorted(ran.output.splitlines())
        assert native.returncode == ran.status


def test_a_call_that_the_table_lacks_is_an_error_to_the_program(hello: bytes) -> None:
    """Without brk and mmap it has no memory for its thread, and ends by itself."""
    less = {number: handler for number, handler in GLIBC.items() if number not in (9, 12)}
    ran = Process(hello, less).run(b"hello")
    assert ran.status not in (0, 6)
    assert b"hello" not in ran.output
