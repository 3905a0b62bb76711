"""Performance applets of xtest: Debian's client under qemu-user, the daemon and a TA, beside libcrypto's speed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from boards.debian import sysroot
from tests.bench.measure import Figure
from tests.real import debian, xtest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.guest import Bench

MIB = 1 << 20
PIECES = 16
"""MiB of one call: what it costs to reach the TA is another figure's (`client`)."""
_CIPHER = ("-i", "-s", str(PIECES * MIB), "-u", str(MIB))
"""In place, in updates of 1 MiB."""
APPLETS = (
    ("AES-128-CTR", ("--aes-perf", "-m", "CTR", *_CIPHER), "aes-128-ctr", 165),
    ("AES-128-GCM", ("--aes-perf", "-m", "GCM", *_CIPHER), "aes-128-gcm", 121),
    ("SHA-256", ("--hash-perf", "-a", "SHA256", "-s", str(MIB), "-l", str(PIECES)), "sha256", 93),
)
"""Name, what xtest is told, OpenSSL's name, MiB/s of a real OP-TEE in QEMU at its best."""
ASYMMETRIC = (
    ("RSA-2048 PSS signature", ("-a", "RSASSA_PKCS1_PSS_MGF1_SHA256_SIGN", "-d", "2048")),
    ("ECDSA P-256 signature", ("-a", "ECDSA_SIGN", "-d", "256")),
)
_FASTEST = re.compile(r"min=([\d.]+)us")


def applets(_: Bench) -> Iterator[Figure]:
    if debian.root() is None or debian.client_root() is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        root = sysroot.of_debian(Path(folder) / "root")
        for name, options, cipher, reference in APPLETS:
            words = xtest.command(root, *options, "-n", "60", "-w", "1")
            yield Figure(
                f"xtest's {name}, {PIECES} times 1 MiB a call (floor: `openssl speed`; OP-TEE in QEMU: {reference})",
                "MiB/s",
                PIECES * 1e6 / _fastest(words),
                ">= 0.85 x",
                openssl_speed(cipher),
            )
        for name, which in ASYMMETRIC:
            words = xtest.command(root, "--asym-perf", *which, "-k", "32", "-n", "200", "-w", "1")
            yield Figure(f"xtest's {name}", "ms", _fastest(words) / 1e3, "-")


def _fastest(words: Sequence[str]) -> float:
    """Microseconds. xtest prints no median; the fastest call is taken, as `openssl speed` counts its own processor
    time alone."""
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120)
    found = _FASTEST.search(done.stdout)
    assert found, done.stdout
    return float(found[1])


def openssl_speed(cipher: str) -> float:
    """MiB/s of the system's OpenSSL, which is the library we use: pyca's wheels bring one of their own."""
    command = ["openssl", "speed", "-evp", cipher, "-bytes", str(MIB), "-seconds", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1].rstrip("k")) * 1000 / MIB
