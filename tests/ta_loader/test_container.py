"""Containers made here: every check, every size, every algorithm, and bytes that nobody meant."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from hypothesis import given, settings
from hypothesis import strategies as st

from south.errors import UsageError
from ta_loader.container import (
    ImageType,
    ProcessVersions,
    check_versions,
    open_container,
)
from ta_loader.container.describe import describe
from ta_loader.container.layout import ALGORITHMS
from ta_loader.container.sign import sign, sign_subkey, subkey_uuid
from ta_loader.errors import ImageRefused
from ta_loader.trust import TrustStore
from tee.abi import results
from tests.threads import together

from .container_kit import ELF, ENC_KEY, PKCS1, UUID_A, UUID_B, enc_key, patch, private_pem, public_pem, store_of

HEADER = 20 + 32 + 256
"""Bytes of struct shdr with SHA-256 and RSA-2048."""


def refused(data: bytes, check: str, trust: TrustStore | None = None, **options: object) -> ImageRefused:
    with pytest.raises(ImageRefused) as refusal:
        open_container(data, trust or store_of("root"), **options)  # type: ignore[arg-type]
    assert refusal.value.check == check, str(refusal.value)
    return refusal.value


def resign(data: bytes, name: str = "root", covered: bytes | None = None, offset: int = 0) -> bytes:
    """`data` with hash and signature (PKCS #1 v1.5, SHA-256) of its header at `offset` made anew."""
    end = offset + HEADER
    raw, rest = data[offset : offset + 20], data[end:]
    digest = hashlib.sha256(raw + (rest if covered is None else covered)).digest()
    key = serialization.load_pem_private_key(private_pem(name), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
    return data[:offset] + raw + digest + signature + rest


def chain(depths: list[int], name_size: int = 16, algo: int = PKCS1) -> tuple[bytes, str, UUID]:
    """A subkey file with one level a depth; the last level's key, and the UUID of a TA called "ta" below it."""
    signer, uuid, data = "root", UUID_A, None
    for level, depth in enumerate(depths):
        data = sign_subkey(
            public_pem(f"level{level}"),
            private_pem(signer),
            uuid,
            name_size=name_size,
            max_depth=depth,
            algo=algo,
            subkey=data,
            name=f"sub{level}" if level else "",
        )
        signer = f"level{level}"
        uuid = subkey_uuid(data, f"sub{level + 1}")
    assert data is not None
    return data, signer, subkey_uuid(data, "ta")


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_algorithm(algo: int) -> None:
    container = open_container(sign(ELF, private_pem("root"), UUID_A, 5, algo), store_of("other", "root"))
    assert container.elf == ELF
    assert container.algorithm == algo
    assert container.key is not None
    assert container.key.name == "root.pem"
    assert container.kinds == (ImageType.BOOTSTRAP_TA,)
    raw = struct.pack("<IIIIHH", 0x4F545348, 1, len(ELF), algo, ALGORITHMS[algo].hash_size, 256)
    assert container.digest == hashlib.sha256(raw + UUID_A.bytes + struct.pack("<I", 5) + ELF).digest()


@pytest.mark.parametrize("number", [0x70002830, 0x70003830, 0x70313930, 0xF0000830, 0x60000130, 0x70009830, 0x70003041])
def test_weak_and_foreign_algorithms(number: int) -> None:
    data = sign(ELF, private_pem("root"), UUID_A)
    refused(patch(data, 12, "<I", number), "algorithm")


def test_plain_ta_has_the_callers_uuid() -> None:
    data = sign(ELF, private_pem("root"), UUID_A, plain=True)
    assert open_container(data, store_of("root"), expected_uuid=UUID_A).uuid == UUID_A
    container = open_container(data, store_of("root"))
    assert (container.uuid, container.kinds, container.versioned) == (None, (ImageType.TA,), False)
    with pytest.raises(UsageError):
        sign(ELF, private_pem("root"), UUID_A, 1, plain=True)


def test_another_pss_salt_is_refused() -> None:
    data = sign(ELF, private_pem("root"), UUID_A)
    key = serialization.load_pem_private_key(private_pem("root"), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=20)
    signature = key.sign(data[20:52], pss, utils.Prehashed(hashes.SHA256()))
    refused(data[:52] + signature + data[HEADER:], "signature")


def test_wrong_key_names_those_tried() -> None:
    refusal = refused(sign(ELF, private_pem("root"), UUID_A), "signature", store_of("other", "third"))
    assert [tried.split()[0] for tried in refusal.tried] == ["other.pem", "third.pem"]
    assert refusal.result == results.SECURITY
    assert "other.pem sha256:" in str(refusal)
    assert "no key is trusted" in str(refused(sign(ELF, private_pem("root"), UUID_A), "signature", TrustStore()))


def test_another_uuid() -> None:
    refusal = refused(sign(ELF, private_pem("root"), UUID_A), "uuid", expected_uuid=UUID_B)
    assert str(UUID_A) in refusal.reason
    assert "root.pem" in refusal.key


def test_truncated_and_lengthened() -> None:
    data = sign(ELF[:64], private_pem("root"), UUID_A, enc_key=ENC_KEY)
    for size in range(len(data)):
        with pytest.raises(ImageRefused):
            open_container(data[:size], store_of("root"), enc_key=enc_key)
    refused(data + b"\0", "size", enc_key=enc_key)


@pytest.mark.parametrize(
    ("offset", "layout", "value", "check"),
    [
        (0, "<I", 0x4F545349, "magic"),
        (4, "<I", 4, "type"),
        (4, "<I", 0xFFFFFFFF, "type"),
        (8, "<I", 0xFFFFFFFF, "size"),
        (8, "<I", 0, "size"),
        (16, "<H", 0xFFFF, "size"),
        (16, "<H", 31, "size"),
        (18, "<H", 0xFFFF, "size"),
        (18, "<H", 0, "signature"),
    ],
)
def test_header_fields(offset: int, layout: str, value: int, check: str) -> None:
    """Fields that are read before the hash, with a signature that covers the change where it can."""
    data = patch(sign(ELF, private_pem("root"), UUID_A, algo=PKCS1), offset, layout, value)
    refused(resign(data) if offset < 16 and check != "magic" else data, check)


def test_changed_image_and_header() -> None:
    data = sign(ELF, private_pem("root"), UUID_A, 3)
    for offset in (8 + 300 + 12, HEADER + 16, HEADER + 20, len(data) - 1):
        changed = bytearray(data)
        changed[offset] ^= 1
        assert "root.pem" in refused(bytes(changed), "hash").key
    refused(patch(data, 20, "<I", 0), "signature")


def test_input_is_copied() -> None:
    data = bytearray(sign(ELF, private_pem("root"), UUID_A))
    container = open_container(memoryview(data), store_of("root"))
    data[-len(ELF) :] = bytes(len(ELF))
    assert container.elf == ELF
    assert container.elf.readonly


# --- encryption ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", [0, 1])
def test_encrypted(key_type: int) -> None:
    data = sign(ELF, private_pem("root"), UUID_A, enc_key=enc_key(key_type), enc_key_type=key_type)
    container = open_container(data, store_of("root"), enc_key=enc_key)
    assert container.elf == ELF
    assert container.encrypted
    assert ELF[:64] not in data
    refused(data, "encryption", enc_key=lambda flags: enc_key(flags ^ 1))
    refused(data, "encryption", enc_key=lambda flags: b"short")
    refused(data, "encryption")


@pytest.mark.parametrize(
    ("offset", "layout", "value", "result"),
    [
        (0, "<I", 0x40000710, results.NOT_IMPLEMENTED),
        (8, "<H", 0, results.SECURITY),
        (8, "<H", 0xFFFF, results.SECURITY),
        (8, "<H", 200, results.SECURITY),
        (10, "<H", 0, results.SECURITY),
        (10, "<H", 3, results.SECURITY),
        (10, "<H", 17, results.SECURITY),
        (10, "<H", 0xFFFF, results.SECURITY),
    ],
)
def test_encryption_header(offset: int, layout: str, value: int, result: int) -> None:
    data = sign(ELF, private_pem("root"), UUID_A, enc_key=ENC_KEY)
    with pytest.raises(ImageRefused) as refusal:
        open_container(patch(data, HEADER + 20 + offset, layout, value), store_of("root"), enc_key=enc_key)
    assert refusal.value.result == result


# --- subkeys -------------------------------------------------------------------------------------


def test_deep_chain() -> None:
    depths = list(range(11, -1, -1))
    data, signer, uuid = chain(depths)
    container = open_container(
        sign(ELF, private_pem(signer), uuid, subkey=data, name="ta"), store_of("root"), expected_uuid=uuid
    )
    assert [level.depth for level in container.subkeys] == depths
    assert container.subkeys[-1].name == "ta"
    assert container.elf == ELF


def test_plain_ta_below_subkey_has_the_namespaces_uuid() -> None:
    data, signer, uuid = chain([0])
    plain = sign(ELF, private_pem(signer), uuid, subkey=data, name="ta", plain=True)
    assert open_container(plain, store_of("root")).uuid == uuid
    refused(plain, "uuid", expected_uuid=UUID_B)


def test_uuid_outside_namespace() -> None:
    data, signer, uuid = chain([0])
    ta = sign(ELF, private_pem(signer), uuid, subkey=data, name="ta")
    start = len(data)
    renamed = ta[:start] + b"at".ljust(16, b"\0") + ta[start + 16 :]
    assert "namespace" in refused(renamed, "uuid").reason
    assert describe(renamed).problem
    # What stands behind the name's NUL is not part of it.
    padded = ta[:start] + b"ta\0anything" + ta[start + 11 :]
    assert open_container(padded, store_of("root")).uuid == uuid
    stolen = data + bytes(16) + sign(ELF, private_pem(signer), UUID_B)
    refused(stolen, "uuid")


def test_subkey_outside_namespace() -> None:
    data, _, _ = chain([3])
    foreign = sign_subkey(public_pem("level1"), private_pem("level0"), UUID_B, name_size=0, algo=PKCS1)
    ta = sign(ELF, private_pem("level1"), UUID_B)  # in order below the foreign subkey
    spliced = data + b"sub1".ljust(16, b"\0") + foreign + ta
    assert "namespace" in refused(spliced, "uuid").reason
    assert describe(spliced).problem


def test_depth_must_fall() -> None:
    data, signer, _ = chain([1])
    uuid = subkey_uuid(data, "sub1")
    for depth in (1, 2, 0xFFFFFFFF):
        same = sign_subkey(public_pem("level1"), private_pem(signer), uuid, name_size=0, max_depth=0, algo=PKCS1)
        raised = patch(same, HEADER + 24, "<I", depth)
        raised = resign(raised, signer)
        ta = sign(ELF, private_pem("level1"), uuid)
        refused(data + b"sub1".ljust(16, b"\0") + raised + ta, "depth")
    first = sign_subkey(public_pem("level0"), private_pem("root"), UUID_A, name_size=0, algo=PKCS1)
    refused(resign(patch(first, HEADER + 24, "<I", 0xFFFFFFFF)) + ta, "depth")


def test_ta_below_subkey_needs_the_subkeys_signature() -> None:
    data, _, uuid = chain([0])
    name = b"ta".ljust(16, b"\0")
    assert "level" not in refused(data + name + sign(ELF, private_pem("root"), uuid), "signature").reason
    refused(data + name + sign(ELF, private_pem("other"), uuid), "signature")


@pytest.mark.parametrize(
    ("offset", "value", "check"),
    [
        (16, 0xFFFFFFFF, "size"),  # name_size
        (28, 0x70003041, "key"),  # algo: ECDSA
        (32, 0xFFFFFFFF, "size"),  # attr_count
        (32, 65, "size"),
        (32, 0, "key"),
        (32, 1, "key"),
        (36, 0xD0000131, "key"),  # id of the modulus
        (40, 0xFFFFFFFF, "size"),  # its offset
        (44, 0xFFFFFFFF, "size"),  # its size
        (44, 0, "key"),
        (44, 8, "key"),
        (56, 0, "key"),  # the exponent's size
    ],
)
def test_subkey_fields(offset: int, value: int, check: str) -> None:
    """Each with a good signature, so that nothing but the check itself refuses it."""
    data, signer, uuid = chain([0])
    ta = sign(ELF, private_pem(signer), uuid, subkey=data, name="ta")
    body = patch(data[HEADER:], offset, "<I", value)
    refused(resign(data[:HEADER] + body) + ta[len(data) :], check)


def test_weak_subkey() -> None:
    weak = sign_subkey(public_pem("weak", 1024), private_pem("root"), UUID_A, name_size=0)
    data = sign(ELF, private_pem("weak", 1024), UUID_A, subkey=weak)
    assert "1024 bits" in refused(data, "key").reason
    old = TrustStore(min_rsa_bits=1024)
    old.add_key(public_pem("root"), "root.pem")
    assert open_container(data, old).elf == ELF


def test_subkey_alone_is_no_image() -> None:
    data, _, _ = chain([1, 0])
    refused(data, "size")
    info = describe(data)
    assert info.subkey_file
    assert (len(info.subkeys), info.problem) == (2, "")


def test_signing_refuses_what_nobody_could_open() -> None:
    data, signer, uuid = chain([0])
    with pytest.raises(UsageError, match="has UUID"):
        sign(ELF, private_pem(signer), UUID_B, subkey=data, name="ta")
    with pytest.raises(UsageError, match="longer"):
        sign(ELF, private_pem(signer), uuid, subkey=data, name="a name of more than sixteen bytes")
    with pytest.raises(UsageError, match="not that of subkey"):
        sign(ELF, private_pem("root"), uuid, subkey=data, name="ta")
    with pytest.raises(UsageError, match="not a subkey file"):
        sign(ELF, private_pem("root"), UUID_A, subkey=data[:-1])
    with pytest.raises(UsageError, match="max_depth"):
        sign_subkey(public_pem("x"), private_pem(signer), uuid, name_size=0, subkey=data, name="ta")
    with pytest.raises(UsageError, match="private key"):
        sign(ELF, public_pem("root"), UUID_A)
    with pytest.raises(UsageError, match="32-bit"):
        sign(ELF, private_pem("root"), UUID_A, 1 << 32)
    with pytest.raises(UsageError, match="algorithm"):
        sign(ELF, private_pem("root"), UUID_A, algo=0x70002830)
    with pytest.raises(UsageError, match="32 bytes"):
        sign(ELF, private_pem("root"), UUID_A, enc_key=b"short")


# --- versions ------------------------------------------------------------------------------------


def test_rollback_of_a_ta() -> None:
    versions, trust = ProcessVersions(), store_of("root")
    images = {version: sign(ELF, private_pem("root"), UUID_A, version) for version in (1, 2, 3)}
    for version in (2, 2, 3, 3):
        assert open_container(images[version], trust, versions=versions).version == version
    refusal = refused(images[2], "version", versions=versions)
    assert refusal.result == results.ACCESS_CONFLICT
    assert "version 3" in refusal.reason
    open_container(sign(ELF, private_pem("root"), UUID_B, 1), trust, versions=versions)


def test_refused_image_raises_no_floor() -> None:
    versions = ProcessVersions()
    newer = sign(ELF, private_pem("root"), UUID_A, 9)
    refused(newer[:-1] + b"\0", "hash", versions=versions)
    refused(newer, "signature", store_of("other"), versions=versions)
    open_container(newer, store_of("other", allow_unsigned=True), versions=versions)
    assert open_container(sign(ELF, private_pem("root"), UUID_A, 1), store_of("root"), versions=versions).version == 1


def test_rollback_of_a_subkey() -> None:
    versions, trust = ProcessVersions(), store_of("root")
    images = {}
    for version in (1, 2):
        subkey = sign_subkey(public_pem("leaf"), private_pem("root"), UUID_A, name_size=0, version=version)
        images[version] = sign(ELF, private_pem("leaf"), UUID_A, 4, subkey=subkey)
    old = open_container(images[1], trust, versions=versions)
    open_container(images[2], trust, versions=versions)
    assert refused(images[1], "version", versions=versions).result == results.SECURITY
    with pytest.raises(ImageRefused):
        check_versions(old, versions)


def test_versions_from_many_threads() -> None:
    versions = ProcessVersions()
    together(lambda first: [versions.check_update("ta_ver.db", UUID_A, v) for v in range(first, 2000, 7)], range(7))
    assert versions.check_update("ta_ver.db", UUID_A, 0) == 1999
    assert versions.check_update("subkey_ver.db", UUID_A, 0) == 0


# --- unsigned and hostile ------------------------------------------------------------------------


def test_bare_elf_only_when_allowed() -> None:
    assert "unsigned" in refused(ELF, "signature").reason
    container = open_container(ELF, store_of(allow_unsigned=True), expected_uuid=UUID_A)
    assert (container.kinds, container.uuid, container.key) == ((), UUID_A, None)
    assert (bytes(container.elf), container.digest) == (ELF, hashlib.sha256(ELF).digest())
    assert describe(ELF).bare_elf


def test_unknown_signer_only_when_allowed_and_whole() -> None:
    trust = store_of("other", allow_unsigned=True)
    data, signer, uuid = chain([0])
    ta = sign(ELF, private_pem(signer), uuid, subkey=data, name="ta")
    container = open_container(ta, trust)
    assert (bytes(container.elf), container.key) == (ELF, None)
    refused(ta[:-1] + b"\0", "hash", trust)
    refused(data + b"ta".ljust(16, b"\0") + sign(ELF, private_pem("root"), uuid), "signature", trust)


IMAGES = [
    sign(ELF, private_pem("root"), UUID_A, 1),
    sign(ELF, private_pem("root"), UUID_A, plain=True),
    sign(ELF, private_pem("root"), UUID_A, enc_key=ENC_KEY),
    sign(ELF, private_pem("level1"), chain([1, 0])[2], subkey=chain([1, 0])[0], name="ta"),
]


@settings(max_examples=400)
@given(
    st.sampled_from(range(len(IMAGES))),
    st.lists(st.tuples(st.integers(0, 1600), st.binary(min_size=1, max_size=6)), min_size=1, max_size=3),
    st.integers(0, 8192),
    st.booleans(),
)
def test_mutations(which: int, edits: list[tuple[int, bytes]], size: int, allow_unsigned: bool) -> None:
    original = IMAGES[which]
    data = bytearray(original)
    for offset, new in edits:
        data[offset : offset + len(new)] = new
    trust = store_of("root", allow_unsigned=allow_unsigned)
    for candidate in (bytes(data), bytes(data[:size])):
        describe(candidate)
        try:
            container = open_container(candidate, trust, enc_key=enc_key)
        except ImageRefused:
            continue
        assert container.elf == ELF or container.key is None


@settings(max_examples=300)
@given(st.binary(max_size=600), st.integers(0, 4), st.integers(0, 700))
def test_arbitrary_bytes(tail: bytes, kind: int, size: int) -> None:
    header = struct.pack("<IIIIHH", 0x4F545348, kind, size, PKCS1, 32, 0)
    for data in (tail, header + tail):
        describe(data)
        with pytest.raises(ImageRefused):
            open_container(data, store_of("root"), enc_key=enc_key)
        try:
            open_container(data, store_of("root", allow_unsigned=True), enc_key=enc_key)
        except ImageRefused:
            pass


def test_endless_chain_is_described_in_time() -> None:
    body = struct.pack("<16sIIIII", UUID_A.bytes, 0, 0, 0, PKCS1, 2)
    attributes = struct.pack("<IIIIII", 0xD0000130, 60, 1, 0xD0000230, 61, 1)
    level = struct.pack("<IIIIHH", 0x4F545348, 3, 62, PKCS1, 0, 0) + body + attributes + b"\x03\x03"
    levels = [level[:44] + struct.pack("<I", 5000 - n) + level[48:] for n in range(4000)]
    data = b"".join(levels)
    assert data.count(b"HSTO") == 4000
    assert describe(data).problem
    refused(data, "size")


def test_opening_does_not_wait_for_pyca() -> None:
    """Signing needs pyca `cryptography`; starting a TA must not pay for its import, nor for those beside it."""
    slow = ("cryptography", "tomllib", "pathlib", "hashlib", "dataclasses", "inspect", "logging")
    code = f"import sys, ta_loader.store; print([m for m in {slow} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
