"""Trust anchors: which files count as keys, and what the configuration file may say."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from south.errors import UsageError
from ta_loader.cli import main
from ta_loader.container.rsa_key import RsaPublicKey
from ta_loader.trust import Config, TrustStore, config_path, read_config

from .container_kit import private_pem, public_pem

if TYPE_CHECKING:
    from pathlib import Path

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PLAIN = serialization.NoEncryption()


def test_private_and_public_file_are_one_key(tmp_path: Path) -> None:
    (tmp_path / "private.pem").write_bytes(private_pem("root"))
    (tmp_path / "public.pem").write_bytes(b"A comment before.\n" + public_pem("root"))
    trust = TrustStore([str(tmp_path / "private.pem"), str(tmp_path / "public.pem")])
    assert [key.name for key in trust.keys] == ["private.pem"]
    public = serialization.load_pem_public_key(public_pem("root"))
    assert trust.keys[0].fingerprint == hashlib.sha256(public.public_bytes(DER, SPKI)).hexdigest()
    assert str(trust.keys[0]) == f"private.pem sha256:{trust.keys[0].fingerprint[:16]}"


def test_traditional_private_key() -> None:
    key = serialization.load_pem_private_key(private_pem("root"), None)
    pem = key.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, PLAIN)
    assert b"RSA PRIVATE KEY" in pem
    assert TrustStore().add_key(pem, "x").numbers == TrustStore().add_key(public_pem("root"), "y").numbers


@pytest.mark.parametrize("bits", [2048, 2056, 3072, 4096])
def test_key_info_is_that_of_pyca(bits: int) -> None:
    numbers = rsa.RSAPublicNumbers(65537, (1 << bits) - 1).public_key()
    size = bits // 8
    ours = RsaPublicKey(numbers.public_numbers().n.to_bytes(size, "big"), b"\1\0\1")
    assert ours.spki() == numbers.public_bytes(DER, SPKI)
    assert ours.bits == bits


def test_kit_folder(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    with pytest.raises(UsageError, match=r"default_ta\.pem"):
        TrustStore([str(tmp_path)])
    (tmp_path / "keys" / "default_ta.pem").write_bytes(private_pem("root"))
    assert TrustStore([str(tmp_path)]).keys[0].name == "default_ta.pem"


def encrypted(form: serialization.PrivateFormat) -> bytes:
    key = serialization.load_pem_private_key(private_pem("root"), None)
    return key.private_bytes(PEM, form, serialization.BestAvailableEncryption(b"secret"))


def test_unusable_keys(tmp_path: Path) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    pss_only = b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"
    good = public_pem("root")
    cases = {
        b"": "PEM",
        b"not a key": "PEM",
        good[: len(good) // 2]: "PEM",
        good.replace(b"A", b"!"): "PEM",
        pss_only: "PEM",
        curve.public_key().public_bytes(PEM, SPKI): "RSA",
        public_pem("weak", 1024): "1024 bits",
        encrypted(serialization.PrivateFormat.PKCS8): "encrypted",
        encrypted(serialization.PrivateFormat.TraditionalOpenSSL): "encrypted",
    }
    for text, message in cases.items():
        with pytest.raises(UsageError, match=message):
            TrustStore().add_key(text, "case.pem")
    long_exponent = rsa.RSAPublicNumbers((1 << 33) + 1, (1 << 2048) - 1).public_key().public_bytes(PEM, SPKI)
    with pytest.raises(UsageError, match="32 bits"):
        TrustStore().add_key(long_exponent, "case.pem")
    (tmp_path / "large.pem").write_bytes(bytes(1 << 17))
    with pytest.raises(UsageError, match="more than the limit"):
        TrustStore([str(tmp_path / "large.pem")])
    with pytest.raises(UsageError, match=r"cannot be read|no file"):
        TrustStore([str(tmp_path / "missing.pem")])
    with pytest.raises(UsageError, match="is empty"):
        TrustStore([""])


def test_old_keys_can_be_allowed() -> None:
    trust = TrustStore(min_rsa_bits=1024)
    trust.add_key(public_pem("weak", 1024), "weak.pem")
    assert trust.keys[0].numbers.bits == 1024


def test_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/someone")
    assert config_path() == str(tmp_path / "litebox-ta" / "config.toml")
    assert read_config() == Config()
    folder = tmp_path / "litebox-ta"
    folder.mkdir()
    (folder / "config.toml").write_text('trust = ["vendor.pem", "~/kit"]\nta_dirs = ["/lib/tas"]\n')
    assert read_config() == Config((str(folder / "vendor.pem"), "/home/someone/kit"), ("/lib/tas",))
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert config_path() == "/home/someone/.config/litebox-ta/config.toml"


@pytest.mark.parametrize(
    "text",
    [
        b"trust = 1",
        b"trust = [1]",
        b"ta_dirs = {}",
        b"trust = [",
        b"\xff",
        b"a = " + b"[" * 5000 + b"]" * 5000,
        b"trust = []\nn = " + b"9" * 5000,
        b'tas_dir = ["a"]',
        b"[trust]",
        b"[other]\nx = 1",
        b'trust = [""]',
        b'ta_dirs = ["a\\u0000b"]',
    ],
)
def test_malformed_config(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=r"config\.toml"):
        read_config(str(path))


def test_named_config_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such"):
        read_config(str(tmp_path / "config.toml"))
    with pytest.raises(UsageError, match=r"cannot be read|no file"):
        read_config(str(tmp_path))


CONFIGURED = [
    ('trust = ["nothing.pem"]', "trust: ", "nothing.pem: cannot be read"),
    ('trust = ["nothing"]', "trust: ", "nothing: cannot be read"),
    ('trust = ["folder"]', "trust: ", "folder/keys/default_ta.pem: cannot be read"),
    ('trust = ["weak.pem"]', "trust: weak.pem: ", "too weak"),
    ('trust = ["config.toml"]', "trust: config.toml: ", ""),
    ('ta_dirs = ["nothing"]', "ta_dirs: ", "nothing: no such folder"),
]


@pytest.mark.parametrize("command", ["run", "verify"])
@pytest.mark.parametrize(("text", "key", "problem"), CONFIGURED)
def test_messages_name_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    text: str, key: str, problem: str, command: str,
) -> None:  # fmt: skip
    """Nobody looks there for a path that no command line has."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "litebox-ta"
    (folder / "folder").mkdir(parents=True)
    (folder / "weak.pem").write_bytes(public_pem("weak", 1024))
    (folder / "config.toml").write_text(text)
    code = main([command, "hello"])
    if command == "verify" and "ta_dirs" in text:
        assert code == 0  # which it does not look for
        return
    err = capsys.readouterr().err
    assert code == 2
    assert err.startswith(f"litebox-ta: {folder / 'config.toml'}: {key}")
    assert problem in err
    assert err.count("config.toml: trust") <= 1
