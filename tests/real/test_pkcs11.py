"""PKCS#11 with OpenSC's pkcs11-tool and OpenSSL, on Debian's libckteec and its TA, whose keys never leave it.

Each program is a process with a daemon of its own; what they share is the state folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from boards.debian import sysroot
from tests.real import debian

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.slow]

SO_PIN, PIN = "1234567890", "12345678"
LOGIN = ("--login", "--pin", PIN)
DATA = b"to be signed" * 10


class Token:
    """A token made by pkcs11-tool. state: of the device."""

    def __init__(self, root: Path, state: Path) -> None:
        base = debian.root()
        assert base is not None
        self.state = state
        self.module = root / debian.LIB_DIR / "libckteec.so.0"
        self.modules = root / debian.LIB_DIR / "ossl-modules"
        kit = base / debian.KIT
        self.command = [sys.executable, "-m", "ta_loader.cli", "with", "--quiet"]
        self.command += ["--trust", str(kit / "keys" / "default_ta.pem"), "--ta-dir", str(kit / "ta")]
        self.command += ["--state", str(state), "--sysroot", str(root), "--"]

    def run(self, *words: str) -> str:
        environment = {
            **os.environ,
            "PKCS11_PROVIDER_MODULE": str(self.module),
            "OPENSSL_MODULES": str(self.modules),
            "OPENSSL_CONF": "/dev/null",
        }
        done = subprocess.run(
            [*self.command, *words], capture_output=True, text=True, timeout=120, check=False, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tool(self, *words: str) -> str:
        return self.run("pkcs11-tool", "--module", str(self.module), *words)

    def public_key(self, number: str) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
        out = self.state / f"{number}.der"
        self.tool("--read-object", "--type", "pubkey", "--id", number, "--output-file", str(out))
        key = serialization.load_der_public_key(out.read_bytes())
        assert isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
        return key

    def sign(self, number: str, mechanism: str) -> bytes:
        data, out = self.state / "data", self.state / "signature"
        data.write_bytes(DATA)
        words = ("--sign", "--id", number, "--mechanism", mechanism, "--input-file", str(data))
        self.tool(*LOGIN, *words, "--output-file", str(out))
        return out.read_bytes()


@pytest.fixture(scope="module")
def token(aarch64_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Token:
    base, client, (programs, why) = debian.root(), debian.client_root(), debian.pkcs11_root()
    if base is None or client is None or programs is None:
        pytest.skip(debian.why_not() or debian.why_no_client() or why)
    made = Token(
        sysroot.build(tmp_path_factory.mktemp("sysroot") / "root", base, client, programs),
        tmp_path_factory.mktemp("state"),
    )
    made.tool("--init-token", "--slot-index", "0", "--label", "tok", "--so-pin", SO_PIN)
    made.tool("--init-pin", "--login", "--slot-index", "0", "--so-pin", SO_PIN, "--new-pin", PIN)
    return made


def test_rsa(token: Token) -> None:
    token.tool(*LOGIN, "--keypairgen", "--key-type", "rsa:2048", "--label", "rsa", "--id", "01")
    key = token.public_key("01")
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    key.verify(token.sign("01", "SHA256-RSA-PKCS"), DATA, padding.PKCS1v15(), hashes.SHA256())


def test_ec(token: Token) -> None:
    token.tool(*LOGIN, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "ec", "--id", "02")
    key = token.public_key("02")
    assert isinstance(key, ec.EllipticCurvePublicKey)
    raw = token.sign("02", "ECDSA-SHA256")
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    key.verify(utils.encode_dss_signature(r, s), DATA, ec.ECDSA(hashes.SHA256()))


def test_wrap_and_delete(token: Token) -> None:
    token.tool(*LOGIN, "--keygen", "--key-type", "aes:32", "--label", "wrapping", "--id", "10", "--usage-wrap")
    token.tool(*LOGIN, "--keygen", "--key-type", "aes:16", "--label", "wrapped", "--id", "11", "--extractable")
    out = token.state / "wrapped"
    token.tool(
        *(*LOGIN, "--wrap", "--mechanism", "AES-ECB", "--id", "10", "--application-id", "11"),
        *("--output-file", str(out)),
    )
    assert len(out.read_bytes()) == 16
    listed = token.tool(*LOGIN, "--list-objects", "--type", "secrkey")
    assert "wrapping" in listed
    assert "wrapped" in listed
    for number in ("10", "11"):
        token.tool(*LOGIN, "--delete-object", "--type", "secrkey", "--id", number)
    assert "wrapp" not in token.tool(*LOGIN, "--list-objects", "--type", "secrkey")


def test_openssl_signs_a_certificate_request(token: Token) -> None:
    token.tool(*LOGIN, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "csr", "--id", "03")
    out = token.state / "request.pem"
    token.run(
        *("openssl", "req", "-new", "-provider", "pkcs11", "-provider", "default", "-subj", "/CN=device"),
        *("-key", f"pkcs11:token=tok;object=csr;type=private?pin-value={PIN}", "-out", str(out)),
    )
    request = x509.load_pem_x509_csr(out.read_bytes())
    assert request.is_signature_valid
    mine = token.public_key("03")
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    assert request.public_key().public_bytes(*form) == mine.public_bytes(*form)
