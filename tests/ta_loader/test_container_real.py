"""Debian's TAs, and OP-TEE's signing script: it opens what we sign, and we open what it signs."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from uuid import UUID

import pytest

from ta_loader.container import ImageType, open_container
from ta_loader.container.describe import describe
from ta_loader.container.sign import sign, sign_subkey, subkey_uuid
from ta_loader.errors import ImageRefused
from ta_loader.trust import TrustStore
from tee.abi import results

from .container_kit import (
    ELF,
    ENC_KEY,
    PKCS1,
    PSS,
    UUID_A,
    enc_key,
    private_pem,
    public_pem,
    sign_encrypt,
    store_of,
)

MUTATIONS = 10_000


@pytest.fixture(scope="module")
def kit_trust(debian_kit: Path) -> TrustStore:
    return TrustStore([str(debian_kit)])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("root", "middle", "leaf"):
        (folder / f"{name}.pem").write_bytes(private_pem(name))
        (folder / f"{name}.pub").write_bytes(public_pem(name))
    (folder / "in.elf").write_bytes(ELF)
    return folder


def test_every_real_ta_is_accepted(debian_tas: Path, debian_kit: Path, kit_trust: TrustStore) -> None:
    files = [*sorted(debian_tas.glob("*.ta")), *sorted((debian_kit / "ta").glob("*.ta"))]
    assert len(files) == 24
    for path in files:
        data = path.read_bytes()
        container = open_container(data, kit_trust, expected_uuid=UUID(path.stem))
        assert container.uuid == UUID(path.stem)
        assert bytes(container.elf[:4]) == b"\x7fELF"
        assert data.endswith(container.elf)
        assert container.key is kit_trust.keys[0]
        info = describe(data)
        assert (info.uuid, info.problem, len(data) - info.image_offset) == (container.uuid, "", len(container.elf))


@pytest.mark.parametrize(
    ("uuid", "levels", "offset"),
    [
        (
            "5c206987-16a3-59cc-ab0f-64b9cfc9e758",
            [
                ("f04fa996-148a-453c-b037-1dcfbad120a6", "mid_level_subkey", 4),
                ("1a5948c5-1aa0-518c-86f4-be6f6a057b16", "subkey1_ta", 3),
            ],
            1712,
        ),
        (
            "a720ccbb-51da-417d-b82e-e5445d474a7a",
            [("a720ccbb-51da-417d-b82e-e5445d474a7a", "", 0)],
            956,
        ),
    ],
)
def test_real_subkey_chains(
    uuid: str, levels: list[tuple[str, str, int]], offset: int, debian_tas: Path, kit_trust: TrustStore
) -> None:
    data = (debian_tas / f"{uuid}.ta").read_bytes()
    container = open_container(data, kit_trust)
    assert [(str(level.uuid), level.name, level.depth) for level in container.subkeys] == levels
    assert all(level.version == 1 for level in container.subkeys)
    assert str(container.uuid) == uuid
    assert len(data) - len(container.elf) == offset


def test_fingerprint_is_that_of_openssl(debian_kit: Path, kit_trust: TrustStore) -> None:
    key = debian_kit / "keys" / "default_ta.pem"
    der = subprocess.run(
        ["openssl", "rsa", "-in", key, "-pubout", "-outform", "DER"], capture_output=True, check=True
    ).stdout
    digest = subprocess.run(["openssl", "sha256", "-r"], input=der, capture_output=True, check=True).stdout
    assert kit_trust.keys[0].fingerprint == digest.split()[0].decode()


def test_mutations_of_real_tas_are_refused(debian_tas: Path, kit_trust: TrustStore) -> None:
    """Flips, cuts and splices: a defined error, or the same TA (bytes of a name behind its NUL are not signed)."""
    rng = random.Random(20)
    names = ("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b", "a720ccbb-51da-417d-b82e-e5445d474a7a")
    chain = "5c206987-16a3-59cc-ab0f-64b9cfc9e758"
    images = [(debian_tas / f"{name}.ta").read_bytes() for name in (*names, chain, chain)]
    originals = [open_container(data, kit_trust) for data in images]
    harmless = 0
    answers: set[int] = set()
    for turn in range(MUTATIONS):
        which = turn % len(images)
        data = bytearray(images[which])
        # Three of four in the headers, where the decisions are.
        reach = 2048 if turn % 16 < 12 else len(data)
        position = rng.randrange(min(reach, len(data)))
        match rng.randrange(8):
            case 0:
                del data[position:]
            case 1:
                data[position:position] = rng.randbytes(rng.randrange(1, 9))
            case 2:
                del data[position : position + rng.randrange(1, 9)]
            case 3:
                data[position : position + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\x80"))
            case _:
                data[position] ^= 1 << rng.randrange(8)
        if data == images[which]:
            continue
        describe(data)
        try:
            container = open_container(data, kit_trust)
        except ImageRefused as refusal:
            answers.add(refusal.result)
            continue
        harmless += 1
        assert container.elf == originals[which].elf
        assert container._replace(elf=memoryview(b"")) == originals[which]._replace(elf=memoryview(b""))
    assert answers <= {results.SECURITY, results.NOT_IMPLEMENTED}
    assert harmless < MUTATIONS // 20


def test_truncated_real_ta(debian_tas: Path, kit_trust: TrustStore) -> None:
    data = (debian_tas / "5c206987-16a3-59cc-ab0f-64b9cfc9e758.ta").read_bytes()
    for size in [*range(0, 1800), len(data) - 1]:
        with pytest.raises(ImageRefused) as refusal:
            open_container(data[:size], kit_trust)
        assert refusal.value.result == results.SECURITY


@pytest.mark.parametrize("algo", [PKCS1, PSS])
@pytest.mark.parametrize("encrypted", [False, True])
def test_scripts_ta_is_accepted(algo: int, encrypted: bool, debian_kit: Path, keys: Path, tmp_path: Path) -> None:
    name = {PKCS1: "TEE_ALG_RSASSA_PKCS1_V1_5_SHA256", PSS: "TEE_ALG_RSASSA_PKCS1_PSS_MGF1_SHA256"}[algo]
    out = tmp_path / "out.ta"
    arguments = ["--uuid", UUID_A, "--ta-version", 7, "--in", keys / "in.elf", "--out", out, "--algo", name]
    if encrypted:
        arguments += ["--enc-key", enc_key(1).hex(), "--enc-key-type", "SHDR_ENC_KEY_CLASS_WIDE"]
    sign_encrypt(debian_kit, "sign-enc", "--key", keys / "root.pem", *arguments)
    theirs = out.read_bytes()
    container = open_container(theirs, store_of("root"), enc_key=enc_key, expected_uuid=UUID_A)
    assert container.elf == ELF
    assert (container.uuid, container.version, container.algorithm) == (UUID_A, 7, algo)
    assert container.encrypted is encrypted
    ours = sign(ELF, private_pem("root"), UUID_A, 7, algo, enc_key=enc_key(1) if encrypted else None, enc_key_type=1)
    if algo == PKCS1 and not encrypted:
        assert ours == theirs
    else:
        assert len(ours) == len(theirs)
        assert ours[:20] == theirs[:20]
        assert ours[308:340] == theirs[308:340] or not encrypted  # bootstrap and encryption headers
    out.write_bytes(ours)
    enc = ["--enc-key", enc_key(1).hex()] if encrypted else []
    sign_encrypt(debian_kit, "verify", "--uuid", UUID_A, "--in", out, "--key", keys / "root.pub", *enc)


def test_scripts_subkeys_are_ours(debian_kit: Path, keys: Path, tmp_path: Path) -> None:
    """A two-level chain, an identity subkey, and an encrypted TA below a chain; both ways."""
    pkcs1 = ["--algo", "TEE_ALG_RSASSA_PKCS1_V1_5_SHA256"]
    first, second = tmp_path / "first.bin", tmp_path / "second.bin"
    options = ["--uuid", UUID_A, "--max-depth", 4, "--name-size", 64, "--subkey-version", 3, *pkcs1]
    sign_encrypt(
        debian_kit, "sign-subkey", "--in", keys / "middle.pub", "--key", keys / "root.pem", "--out", first, *options
    )
    ours = sign_subkey(
        public_pem("middle"), private_pem("root"), UUID_A, name_size=64, version=3, max_depth=4, algo=PKCS1
    )
    assert ours == first.read_bytes()

    uuid = subkey_uuid(ours, "below")
    assert f"Next subkey UUID: {uuid}" in sign_encrypt(debian_kit, "subkey-uuid", "--in", first, "--name", "below")
    options = ["--uuid", uuid, "--name", "below", "--subkey", first, "--name-size", 32, *pkcs1]
    sign_encrypt(
        debian_kit, "sign-subkey", "--in", keys / "leaf.pub", "--key", keys / "middle.pem", "--out", second, *options
    )
    ours = sign_subkey(
        public_pem("leaf"), private_pem("middle"), uuid, name_size=32, algo=PKCS1, subkey=ours, name="below"
    )
    assert ours == second.read_bytes()

    ta_uuid = subkey_uuid(ours, "ta")
    theirs = tmp_path / "ta.ta"
    options = ["--uuid", ta_uuid, "--in", keys / "in.elf", "--subkey", second, "--name", "ta", *pkcs1]
    sign_encrypt(debian_kit, "sign-enc", "--key", keys / "leaf.pem", "--out", theirs, *options)
    assert theirs.read_bytes() == sign(ELF, private_pem("leaf"), ta_uuid, 0, PKCS1, subkey=ours, name="ta")
    container = open_container(theirs.read_bytes(), store_of("root"), expected_uuid=ta_uuid)
    assert container.kinds == (ImageType.SUBKEY, ImageType.SUBKEY, ImageType.BOOTSTRAP_TA)
    assert [level.version for level in container.subkeys] == [3, 0]

    encrypted = sign(ELF, private_pem("leaf"), ta_uuid, 1, subkey=ours, name="ta", enc_key=ENC_KEY)
    theirs.write_bytes(encrypted)
    arguments = ["--uuid", ta_uuid, "--in", theirs, "--key", keys / "root.pub", "--enc-key", ENC_KEY.hex()]
    sign_encrypt(debian_kit, "verify", *arguments)
    assert open_container(encrypted, store_of("root"), enc_key=enc_key).elf == ELF


def test_identity_subkey(debian_kit: Path, keys: Path, tmp_path: Path) -> None:
    """Compared as bytes: the script's own `verify` compares a UUID with octets here, and refuses its own file."""
    subkey, ta = tmp_path / "identity.bin", tmp_path / "identity.ta"
    pkcs1 = ["--algo", "TEE_ALG_RSASSA_PKCS1_V1_5_SHA256"]
    options = ["--uuid", UUID_A, "--name-size", 0, "--out", subkey, *pkcs1]
    sign_encrypt(debian_kit, "sign-subkey", "--in", keys / "leaf.pub", "--key", keys / "root.pem", *options)
    options = ["--uuid", UUID_A, "--in", keys / "in.elf", "--subkey", subkey, "--out", ta, *pkcs1]
    sign_encrypt(debian_kit, "sign-enc", "--key", keys / "leaf.pem", *options)
    container = open_container(ta.read_bytes(), store_of("root"), expected_uuid=UUID_A)
    assert container.subkeys[0].uuid == UUID_A
    ours = sign_subkey(public_pem("leaf"), private_pem("root"), UUID_A, name_size=0, algo=PKCS1)
    assert ours == subkey.read_bytes()
    assert sign(ELF, private_pem("leaf"), UUID_A, algo=PKCS1, subkey=ours) == ta.read_bytes()
