"""Our public headers against OP-TEE's own: layouts and constants, for each compiler that is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from normal_world import libteec
from tests.real import debian

SOURCE = Path(__file__).parent / "csrc" / "layouts.c"
CONSTANT = re.compile(r"^#define[ \t]+((?:TEEC?|TRACE)_\w+)[ \t]+\S", re.MULTILINE)


def constants(include: Path) -> set[str]:
    names = (include / "tee_client_api.h", include / "teec_trace.h")
    return {name for path in names for name in CONSTANT.findall(path.read_text())}


def numbers(include: Path, folder: Path, cc: str, names: set[str]) -> list[str]:
    """What the compiler makes of `include`; read off the program run, or under qemu-user."""
    folder.mkdir()
    (folder / "constants.inc").write_text("".join(f"N({name});\n" for name in sorted(names)))
    # Linked statically with stand-ins: only the headers count here.
    stubs = "TEEC_InitializeContext TEEC_RegisterSharedMemoryFileDescriptor TEEC_OpenSession"
    (folder / "stubs.c").write_text("".join(f"void {name}(void) {{}}\n" for name in stubs.split()))
    program = folder / "layouts"
    command = [
        cc,
        "-std=gnu11",
        "-Wall",
        "-static",
        f"-I{include}",
        f"-I{folder}",
        str(SOURCE),
        str(folder / "stubs.c"),
    ]
    subprocess.run([*command, "-o", str(program)], check=True, timeout=60)
    runner = {"aarch64-linux-gnu-gcc": ["qemu-aarch64"], "arm-linux-gnueabihf-gcc": ["qemu-arm"]}.get(cc, [])
    if runner and shutil.which(runner[0]) is None:
        pytest.skip(f"{runner[0]} is not installed")
    done = subprocess.run([*runner, str(program)], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()


@pytest.mark.real
@pytest.mark.parametrize("cc", ["cc", "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc"])
def test_headers_agree(tmp_path: Path, cc: str) -> None:
    root = debian.client_root()
    if root is None:
        pytest.skip(debian.why_no_client())
    theirs = root / "usr/include"
    if not (theirs / "tee_client_api.h").is_file():
        pytest.skip(f"Debian's packages at {root} are without optee-client-dev")
    if not libteec.has_c_library(cc):
        pytest.skip(f"{cc} with a C library is not installed")
    names = constants(theirs)
    assert len(names) > 50
    assert numbers(libteec.INCLUDE, tmp_path / "ours", cc, names) == numbers(theirs, tmp_path / "theirs", cc, names)
