"""Performance applets of xtest: Debian's client under qemu-user, the daemon and a TA, beside libcrypto's speed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.measure import Figure
from tests.real import debian, sysroot, xtest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.guest import Bench

MIB = 1 << 20
APPLETS = (
    ("AES-128-CTR", "--aes-perf -m CTR -i", "aes-128-ctr", 165),
    ("AES-128-GCM", "--aes-perf -m GCM -i", "aes-128-gcm", 121),
    ("SHA-256", "--hash-perf -a SHA256", "sha256", 93),
)
"""Name, what xtest is told, OpenSSL's name, MiB/s of a real OP-TEE in QEMU at its best."""
_RATE = re.compile(r"min=([\d.]+)us .* mean=([\d.]+)us")


def applets(_: Bench) -> Iterator[Figure]:
    """1 MiB a call. The fastest call is taken, as `openssl speed` is undisturbed by other processes, too."""
    if debian.root() is None or debian.client_root() is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        root = sysroot.of_debian(Path(folder) / "root")
        for name, options, cipher, reference in APPLETS:
            words = xtest.command(root, *options.split(), "-s", str(MIB), "-n", "1000", "-w", "1")
            done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120)
            found = _RATE.search(done.stdout)
            assert found, done.stdout
            yield Figure(
                f"xtest's {name}, 1 MiB (floor: `openssl speed`; a real OP-TEE in QEMU at best {reference})",
                "MiB/s",
                1e6 / float(found[1]),
                ">= 0.85 x",
                openssl_speed(cipher),
            )


def openssl_speed(cipher: str) -> float:
    """MiB/s of the system's OpenSSL, which is the library we use: pyca's wheels bring one of their own."""
    command = ["openssl", "speed", "-evp", cipher, "-bytes", str(MIB), "-seconds", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1].rstrip("k")) * 1000 / MIB
