"""The same pytest file of a TA's tests, on this machine and on an unmodified kernel in QEMU with LiteBox behind it."""

from __future__ import annotations

import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from boards import guest
from boards.errors import TargetError
from normal_world.agent.build import ensure
from normal_world.libteec import BuildError
from south.errors import UsageError
from ta_loader import samples
from tests.boards.test_board_tee import TESTS
from tests.normal_world.kit import LITEBOX_TA, in_process

if TYPE_CHECKING:
    from pathlib import Path

QEMU = "qemu-system-aarch64"


@pytest.mark.slow
def test_the_same_file_on_host_and_in_qemu(tmp_path: Path) -> None:
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed (Debian: apt-get install qemu-system-arm)")
    try:
        guest.kernel()
        ensure("aarch64")
    except (UsageError, TargetError, BuildError) as problem:
        pytest.skip(str(problem))
    key = str(samples.public_key_file())
    (tmp_path / "test_ta.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nlitebox_ta = hello\naddopts = -p no:cacheprovider -W error\n")
    command = [*LITEBOX_TA, "board", "test", "qemu-virt-litebox", "--var", f"tas={samples.FOLDER}"]
    command += [
        "--var",
        f"trust={key}",
        "--html",
        "report.html",
        "--report",
        "out",
        "--",
        "-q",
        "--board",
        "host",
        "test_ta.py",
    ]
    with in_process(tmp_path, "--ta-dir", samples.FOLDER, "--trust", key) as daemon:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "LITEBOX_SOCKET": daemon.path},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout
    page = (tmp_path / "qemu-virt-litebox-report.html").read_text()
    assert "test_panic[qemu-virt-litebox]" in page
    assert "panicked with code 0x00000bad" in page, "the secure world's console"
    assert 'class="bad">TA panic at' in page
    assert "1 end of a TA in tests that passed" in page
    cases = {c.get("name"): c for c in ET.parse(tmp_path / "out/qemu-virt-litebox/junit.xml").getroot()}
    assert "  mapped regions:" in (cases["TA panic on secure"].findtext("system-out") or "")
