"""`sign` and `verify`: keys in every form, keys that no OP-TEE takes, and their JSON."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from south.platform import Arch
from ta_loader import samples
from ta_loader.container.verify import open_container
from ta_loader.trust import TrustStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

PASSPHRASE = b"open sesame"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def elf(tmp_path: Path) -> str:
    """The sample's, as its container holds it."""
    container = open_container(samples.hello().read_bytes(), TrustStore([samples.public_key_file()]))
    path = tmp_path / "hello.elf"
    path.write_bytes(container.elf)
    return str(path)


def write(path: Path, key: PrivateKeyTypes, form: PrivateFormat, passphrase: bytes | None = None) -> str:
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    path.write_bytes(key.private_bytes(Encoding.PEM, form, encryption))
    return str(path)


def public(path: Path, key: PrivateKeyTypes) -> str:
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key(cli: Cli, tmp_path: Path, key: rsa.RSAPrivateKey, elf: str, form: PrivateFormat) -> None:
    pem = write(tmp_path / "key.pem", key, form, PASSPHRASE)
    words, out = (tmp_path / "words"), str(tmp_path / "a.ta")
    words.write_bytes(PASSPHRASE + b"\nsecond line\n")
    assert cli("sign", elf, "--key", pem, "--passphrase", str(words), "--out", out).code == 0
    trusted = public(tmp_path / "public.pem", key)
    assert cli("verify", "--trust", trusted, out).code == 0
    words.write_bytes(b"wrong")
    done = cli("sign", elf, "--key", pem, "--passphrase", str(words), "--out", out)
    assert done.code == 2
    assert "the passphrase is wrong" in done.err
    done = cli("verify", "--trust", pem, out)
    assert done.code == 2
    assert "name its public key instead" in done.err


def test_where_nobody_can_be_asked(tmp_path: Path, key: rsa.RSAPrivateKey, elf: str) -> None:
    pem = write(tmp_path / "key.pem", key, PrivateFormat.PKCS8, PASSPHRASE)
    command = ["setsid", sys.executable, "-m", "ta_loader.cli", "sign", elf, "--key", pem]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 2
    assert "--passphrase FILE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_passphrase_for_nothing(cli: Cli, tmp_path: Path, key: rsa.RSAPrivateKey, elf: str) -> None:
    pem = write(tmp_path / "key.pem", key, PrivateFormat.PKCS8)
    done = cli("sign", elf, "--key", pem, "--passphrase", pem)
    assert done.code == 2
    assert "is not encrypted" in done.err


KEYS: dict[str, Callable[[], PrivateKeyTypes]] = {
    "1024 bits": lambda: rsa.generate_private_key(65537, 1024),
    "elliptic curve": lambda: ec.generate_private_key(ec.SECP256R1()),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_that_verify_refuses_signs_nothing(cli: Cli, tmp_path: Path, kind: str, elf: str) -> None:
    key = KEYS[kind]()
    pem, out = write(tmp_path / "key.pem", key, PrivateFormat.PKCS8), tmp_path / "a.ta"
    signed = cli("sign", elf, "--key", pem, "--out", str(out))
    assert signed.code == 2
    assert not out.exists()
    out.write_bytes(samples.hello().read_bytes())
    verified = cli("verify", "--trust", public(tmp_path / "public.pem", key), str(out))
    assert verified.code == 2
    said = signed.err.splitlines()[0].removeprefix(f"litebox-ta: {pem}: ")
    assert said in verified.err


def test_json(cli: Cli, tmp_path: Path, key: rsa.RSAPrivateKey, elf: str) -> None:
    pem, out = write(tmp_path / "key.pem", key, PrivateFormat.PKCS8), tmp_path / "a.ta"
    done = cli("sign", elf, "--key", pem, "--version", "7", "--out", str(out), "--json")
    assert done.json == {
        "file": str(out),
        "uuid": str(samples.HELLO[Arch.AARCH64]),
        "version": 7,
        "algorithm": "RSASSA_PKCS1_PSS_MGF1_SHA256",
        "encrypted": False,
        "size": out.stat().st_size,
    }
    damaged = tmp_path / "b.ta"
    damaged.write_bytes(out.read_bytes()[:-1] + b"!")
    done = cli("verify", "--json", "--trust", pem, "hello", str(out), str(damaged))
    assert done.code == 4
    sample, good, bad = done.json
    assert [row["good"] for row in done.json] == [True, True, False]
    assert sample["key"]["name"] == "samples.pub.pem"
    assert (good["uuid"], good["version"], good["encrypted"]) == (str(samples.HELLO[Arch.AARCH64]), 7, False)
    assert bad["check"] == "hash"
    assert bad["verdict"].startswith("refused: ")


def test_the_samples_have_names_everywhere(cli: Cli) -> None:
    for name in samples.NAMES:
        assert cli("verify", name).code == 0
        assert str(samples.HELLO[samples.NAMES[name]]) in cli("info", name).out
        assert cli("run", name, "--invoke", "7").code == 0


def test_demo_json(cli: Cli) -> None:
    done = cli("demo", "--json")
    assert done.code == 0
    assert [step["step"] for step in done.json["steps"]] == ["open", "invoke", "invoke", "invoke"]
    assert done.json["steps"][-1]["crash"]["code"] == 0xC0FFEE


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["help", "run"], "usage: litebox-ta run"),
        (["help"], "usage: litebox-ta COMMAND"),
        (["help", "board", "run"], "usage: litebox-ta board run"),
        (["-V"], "litebox-ta "),
        (["--version"], "litebox-ta "),
    ],
)
def test_help(cli: Cli, words: list[str], out: str) -> None:
    done = cli(*words)
    assert done.code == 0
    assert done.out.startswith(out)


def test_hints_do_not_repeat_a_typo(cli: Cli) -> None:
    done = cli("rnu", "hello")
    assert done.code == 2
    assert "did you mean run?" in done.err
    assert "litebox-ta --help" in done.err
    assert "litebox-ta rnu" not in done.err
    assert "(litebox-ta run --help shows more)" in cli("run", "--nonsense").err


@pytest.mark.parametrize("subkey", [False, True])
@pytest.mark.parametrize("pem", [b"", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----", b"no key at all"])
def test_what_is_no_key_is_told_in_our_words(cli: Cli, tmp_path: Path, pem: bytes, subkey: bool) -> None:
    for name in ("key.pem", "sub.bin", "my.elf"):
        (tmp_path / name).write_bytes(pem)
    chain = ["--subkey", str(tmp_path / "sub.bin"), "--name", "x"] if subkey else []
    out = str(tmp_path / "out")
    done = cli("sign", "--key", str(tmp_path / "key.pem"), *chain, "--out", out, str(tmp_path / "my.elf"))
    assert done.code == 2
    assert "key.pem: " in done.err
    assert "PEM" in done.err
    assert "BEGIN/END" not in done.err
    assert "deserialize" not in done.err
