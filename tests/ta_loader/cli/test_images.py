"""`info`, `verify`, `sign`, `encrypt` and `symbolize`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from south.platform import Arch
from ta_loader import samples
from ta_loader.container.describe import describe
from ta_loader.machines import TA_ARCHES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

HELLO = str(samples.HELLO[Arch.AARCH64])
KEY = str(samples.private_key())
ENC_KEY = "07" * 32


@pytest.fixture
def elf(tmp_path: Path) -> Path:
    data = samples.hello().read_bytes()
    path = tmp_path / "hello.elf"
    path.write_bytes(data[describe(data).image_offset :])
    return path


def test_info(cli: Cli) -> None:
    done = cli("info", str(samples.hello()))
    assert done.code == 0
    for text in (HELLO, "bootstrap TA", "stack: 16384 bytes", "gpd.ta.version (string) = 1.0", "aarch64 TA"):
        assert text in done.out


@pytest.mark.parametrize("arch", TA_ARCHES)
def test_info_json(cli: Cli, arch: Arch) -> None:
    top = cli("info", "--json", str(samples.hello(arch))).json
    uuid = str(samples.HELLO[arch])
    assert top["container"]["uuid"] == top["elf"]["uuid"] == uuid
    assert top["elf"]["arch"] == arch.value
    assert {"name": "gpd.ta.multiSession", "type": "bool", "value": "false"} in top["elf"]["properties"]
    assert top["problem"] == ""


def test_info_of_rubbish(cli: Cli, tmp_path: Path) -> None:
    for data in (b"", b"HSTO", os.urandom(100), samples.hello().read_bytes()[:400], b"\x7fELF" + bytes(100)):
        path = tmp_path / "x.ta"
        path.write_bytes(data)
        done = cli("info", "--json", str(path))
        assert done.code == 4
        assert done.json["problem"]


def test_verify(cli: Cli, tmp_path: Path) -> None:
    good = str(samples.hello())
    assert cli("verify", good).code == 4
    done = cli("verify", "--trust", str(samples.public_key()), good)
    assert done.code == 0
    assert "good" in done.out
    assert cli("verify", "--trust", KEY, "--uuid", HELLO, good).code == 0
    done = cli("verify", "--trust", KEY, "--uuid", HELLO.replace("7", "8"), good)
    assert done.code == 4
    assert "uuid check failed" in done.out
    bad = tmp_path / "bad.ta"
    bad.write_bytes(samples.hello().read_bytes()[:-1])
    done = cli("verify", "--trust", KEY, "--quiet", good, str(bad))
    assert done.code == 4
    assert len(done.out.splitlines()) == 1


def test_sign_and_run(cli: Cli, elf: Path, tmp_path: Path) -> None:
    out = tmp_path / "signed.ta"
    done = cli("sign", "--key", KEY, "--version", "3", "--out", str(out), str(elf))
    assert done.code == 0, done.err
    info = describe(out.read_bytes())
    assert (str(info.uuid), info.version) == (HELLO, 3)
    assert cli("run", str(out), "--trust", KEY, "--invoke", "0", "value:1").code == 0


def test_signature_is_what_pyca_verifies(cli: Cli, elf: Path, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = tmp_path / "key.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    out = tmp_path / "x.ta"
    assert (
        cli("sign", "--key", str(pem), "--algo", "rsassa_pkcs1_pss_mgf1_sha256", "--out", str(out), str(elf)).code == 0
    )
    data = out.read_bytes()
    covered = data[:20] + data[20 + 32 + 256 :]  # struct shdr; hash; signature; all that follows
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    key.public_key().verify(data[52 : 52 + 256], covered, pss, hashes.SHA256())


def test_encrypt_and_run(cli: Cli, elf: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "enc.ta")
    assert cli("encrypt", "--key", KEY, "--enc-key", ENC_KEY, "--out", out, str(elf)).code == 0
    assert cli("run", out, "--trust", KEY, "--enc-key", ENC_KEY, "--invoke", "0", "value:1").code == 0
    done = cli("run", out, "--trust", KEY, "--enc-key", "00" * 32)
    assert done.code == 4
    assert "--enc-key" in done.err
    assert cli("info", "--json", out).json["elf"] is None
    assert cli("info", "--json", "--enc-key", ENC_KEY, out).json["elf"]["uuid"] == HELLO


def test_sign_usage(cli: Cli, elf: Path, tmp_path: Path) -> None:
    assert "--key" in cli("sign", str(elf)).err
    assert cli("sign", "--key", str(samples.public_key()), str(elf)).code == 2
    assert cli("sign", "--key", KEY, "--uuid", "x", str(elf)).code == 2
    assert cli("sign", "--key", KEY, "--algo", "md5", str(elf)).code == 2
    assert cli("sign", "--key", KEY, str(samples.public_key())).code == 2
    assert cli("sign", "--key", KEY, "--out", str(tmp_path / "no" / "x.ta"), str(elf)).code == 2
    assert cli("encrypt", "--key", KEY, str(elf)).code == 2


def test_unsigned(cli: Cli, elf: Path) -> None:
    assert cli("run", str(elf)).code == 4
    assert cli("run", str(elf), "--allow-unsigned", "--invoke", "0", "value:1").code == 0


def test_symbolize(cli: Cli, tmp_path: Path, elf: Path) -> None:
    """The addresses of a panic here, put as OP-TEE logs them, get the names that the backtrace here has."""
    done = cli("run", str(elf), "--allow-unsigned", "--json", "--invoke", "2", "value:5")
    crash = json.loads(done.out)["steps"][1]["crash"]
    code = next(region for region in crash["regions"] if region["prot"] == "r-x")
    frames = [frame for frame in crash["backtrace"] if frame["function"]]
    base = min(region["va"] for region in crash["regions"] if HELLO in region["name"])
    text = [
        "E/TC:? 0 TA panicked with code 0xffff0006",
        f"E/LD:  Status of TA {HELLO}",
        f"E/LD:   region  0: va 0x{code['va']:08x} pa 0x0e300000 size 0x{code['size']:06x} flags r-xs [0]",
        f"E/LD:   [0] {HELLO} @ 0x{code['va']:08x}",
        "E/LD:  Call stack:",
        *(f"E/LD:   0x{frame['pc']:08x}" for frame in frames),
        "unrelated",
    ]
    assert base
    log = tmp_path / "log"
    log.write_text("\n".join(text) + "\n")
    (tmp_path / f"{HELLO}.elf").write_bytes(elf.read_bytes())
    done = cli("symbolize", "--dir", str(tmp_path), str(log))
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == len(text)
    assert lines[-1] == "unrelated"
    assert "(TEE_ERROR_BAD_PARAMETERS)" in lines[0]
    for frame, line in zip(frames, lines[5:-1], strict=True):
        assert frame["function"] in line
    assert cli("symbolize", "/nonexistent").code == 2
    assert cli("symbolize", "--dir", "/nonexistent", str(log)).code == 2


def test_algorithms(cli: Cli) -> None:
    rows = {row["name"]: row for row in cli("algorithms", "--json").json}
    assert rows["AES_GCM"]["served"]
    assert rows["AES_GCM"]["number"] == 0x40000810
    assert rows["AES_GCM"]["limit"] == ""
    assert rows["RSA_NOPAD"]["limit"] == ""
    assert "DigestInfo" in rows["RSASSA_PKCS1_V1_5_SHA256"]["limit"]
    text = cli("algorithms").out
    assert "AES_GCM" in text
    assert "served, but signatures whose DigestInfo lacks its NULL" in text
