"""OP-TEE's crypt TA: the code inside it (SHA-2, AES, mbedTLS, big numbers) gives what OpenSSL and Python give."""

from __future__ import annotations

import datetime
import math
import random
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tee.abi import results
from tee.abi.results import Origin
from tee.world import Outcome
from tests.real.host import Host, content, value, value_out
from tests.real.tas import CRYPT, Crypt

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(range(32))
"""Of the AES commands; ta/crypt/aes_taf.c."""
BAD_PARAMETERS = Outcome(results.BAD_PARAMETERS, Origin.TRUSTED_APP)
BAD_FORMAT = Outcome(results.BAD_FORMAT, Origin.TRUSTED_APP)
SIZES = [0, 1, 3, 55, 56, 63, 64, 65, 119, 4095, 4096, 4097, 70001]


@pytest.fixture
def session(host: Host) -> int:
    return host.open(CRYPT)


# --- 1004: SHA-2 and AES in C inside the TA


@pytest.mark.parametrize(("command", "algorithm"), [(Crypt.SHA224, hashes.SHA224()), (Crypt.SHA256, hashes.SHA256())])
def test_sha2(host: Host, session: int, command: Crypt, algorithm: hashes.HashAlgorithm) -> None:
    rng = random.Random(command)
    for size in SIZES:
        data = rng.randbytes(size)
        digest = host.output(algorithm.digest_size)
        host.succeed(session, command, host.input(data), digest)
        expected = hashes.Hash(algorithm)
        expected.update(data)
        assert content(digest) == expected.finalize()
    assert host.invoke(session, command, host.input(b"abc"), host.output(27)) == BAD_PARAMETERS
    assert host.invoke(session, command, host.input(b"abc")) == BAD_PARAMETERS


def test_aes(host: Host, session: int) -> None:
    cipher = Cipher(algorithms.AES(KEY), modes.ECB())
    for blocks in (1, 2, 256, 1000):
        data = random.Random(blocks).randbytes(16 * blocks)
        encrypted, decrypted = host.output(len(data)), host.output(len(data))
        host.succeed(session, Crypt.AES256ECB_ENC, host.input(data), encrypted)
        host.succeed(session, Crypt.AES256ECB_DEC, host.input(data), decrypted)
        encryptor, decryptor = cipher.encryptor(), cipher.decryptor()
        assert content(encrypted) == encryptor.update(data) + encryptor.finalize()
        assert content(decrypted) == decryptor.update(data) + decryptor.finalize()


def test_sessions_have_globals_of_their_own(host: Host, session: int) -> None:
    """The TA is no single instance: its variables are each session's own."""
    other = host.open(CRYPT)
    for number, n in ((session, 41), (other, 7)):
        host.succeed(number, Crypt.SETGLOBAL, value(n))
    for number, n in ((session, 41), (other, 7)):
        variable = value_out()
        host.succeed(number, Crypt.GETGLOBAL, variable)
        assert variable.a == n


# --- 8101 to 8103: mbedTLS inside the TA


def test_mbedtls_self_tests(host: Host, session: int) -> None:
    """AES, DES, MD5, SHA-1, SHA-256, base64, big numbers and RSA; each test logs a line."""
    host.succeed(session, Crypt.MBEDTLS_SELF_TESTS)
    lines = [line.strip() for line in host.watch.log.splitlines()]
    passed = [line for line in lines if line.endswith("passed")]
    assert len(passed) == 49
    assert not [line for line in lines if "fail" in line.lower()]
    for name in ("AES-CBC-256 (enc)", "DES3-CBC-168 (dec)", "MD5 test #7", "SHA-1 test #3", "SHA-256 test #3",
                 "Base64 decoding test", "MPI test #5", "PKCS#1 sig. verify"):  # fmt: skip
        assert any(line.startswith(name) for line in passed), name


class Authority:
    """A certificate authority, its parent (None: itself) and its certificate."""

    def __init__(self, name: str, parent: Authority | None = None) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (parent or self).issue(self.name, self.key, ca=True)

    def issue(self, name: x509.Name, key: rsa.RSAPrivateKey, *, ca: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.datetime(2020, 1, 1))
            .not_valid_after(datetime.datetime(2049, 1, 1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )


class Chain:
    def __init__(self) -> None:
        self.root, self.other = Authority("root"), Authority("root")
        self.middle = Authority("middle", self.root)
        self.leaf_key = rsa.generate_private_key(65537, 2048)
        self.leaf = self.middle.issue(LEAF, self.leaf_key, ca=False)


LEAF = x509.Name(
    [x509.NameAttribute(NameOID.COUNTRY_NAME, "SE"), x509.NameAttribute(NameOID.COMMON_NAME, "leaf.example")]
)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def pem(*certificates: x509.Certificate) -> bytes:
    """As mbedTLS wants it: a C string."""
    return b"".join(c.public_bytes(Encoding.PEM) for c in certificates) + b"\0"


def test_mbedtls_checks_a_certificate_chain(host: Host, session: int, chain: Chain) -> None:
    good, trust = pem(chain.leaf, chain.middle.certificate), pem(chain.root.certificate)
    host.succeed(session, Crypt.MBEDTLS_CHECK_CERT, host.input(good), host.input(trust))
    bad = [
        (pem(chain.leaf), trust),  # the certificate between is missing
        (good, pem(chain.other.certificate)),  # a root of the same name and another key
        (pem(chain.root.issue(LEAF, chain.leaf_key, ca=False), chain.middle.certificate), good),
        (good[:200] + b"\0", trust),
    ]
    for certificates, anchor in bad:
        outcome = host.invoke(session, Crypt.MBEDTLS_CHECK_CERT, host.input(certificates), host.input(anchor))
        assert outcome == BAD_FORMAT


def verify(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    key, algorithm = issuer.public_key(), certificate.signature_hash_algorithm
    assert certificate.issuer == issuer.subject
    assert algorithm is not None
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(), algorithm)


def test_mbedtls_signs_a_certificate(host: Host, session: int, chain: Chain) -> None:
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(LEAF).sign(chain.leaf_key, hashes.SHA256())
    ).public_bytes(Encoding.PEM) + b"\0"
    certificate, issuers = host.output(2048), host.output(4096)
    host.succeed(session, Crypt.MBEDTLS_SIGN_CERT, host.input(request), certificate, issuers)
    leaf = x509.load_pem_x509_certificate(content(certificate).rstrip(b"\0"))
    middle, root = x509.load_pem_x509_certificates(content(issuers).rstrip(b"\0"))
    assert leaf.subject == LEAF
    assert leaf.public_key() == chain.leaf_key.public_key()
    verify(leaf, middle)
    verify(middle, root)
    verify(root, root)
    outcome = host.invoke(session, Crypt.MBEDTLS_SIGN_CERT, host.input(request), host.output(2048), host.output(100))
    assert outcome == Outcome(results.SHORT_BUFFER, Origin.TRUSTED_APP)
    outcome = host.invoke(session, Crypt.MBEDTLS_SIGN_CERT, host.input(b"x\0"), host.output(2048), host.output(4096))
    assert outcome == BAD_FORMAT


# --- big numbers, which libutee computes inside the TA with mbedTLS

BITS = 1024
NO_HANDLE = 0xFFFFFFFF


class Numbers:
    """Big numbers by handle."""

    def __init__(self, host: Host, session: int) -> None:
        self._host, self._session = host, session

    def call(self, command: Crypt, *handles: int) -> None:
        """handles: two in each value parameter."""
        pairs = [value(*handles[i : i + 2]) for i in range(0, len(handles), 2)]
        self._host.succeed(self._session, command, *pairs)

    def new(self, number: int | None = None) -> int:
        handle = value_out()
        self._host.succeed(self._session, Crypt.ARITH_NEW_VAR, value(2 * BITS), handle)
        if number is not None:
            data = abs(number).to_bytes(BITS // 4, "big")
            sign = value(handle.a, number < 0)
            self._host.succeed(self._session, Crypt.ARITH_FROM_OCTET_STRING, sign, self._host.input(data))
        return handle.a

    def get(self, handle: int) -> int:
        sign, data = value_out(), self._host.output(BITS // 4 + 8)
        self._host.succeed(self._session, Crypt.ARITH_GET_VALUE, value(handle), sign, data)
        number = int.from_bytes(content(data), "big")
        return -number if sign.a & 0x80000000 else number

    def free(self, *handles: int) -> None:
        for handle in handles:
            self._host.succeed(self._session, Crypt.ARITH_FREE_HANDLE, value(handle))


TWO_OPERANDS: list[tuple[Crypt, Callable[[int, int], int]]] = [
    (Crypt.ARITH_ADD, lambda a, b: a + b),
    (Crypt.ARITH_SUB, lambda a, b: a - b),
    (Crypt.ARITH_MUL, lambda a, b: a * b),
    (Crypt.ARITH_MOD, lambda a, b: a % b),
    (Crypt.ARITH_INVMOD, lambda a, b: pow(a, -1, b)),
]


@pytest.mark.parametrize(("command", "expected"), TWO_OPERANDS, ids=lambda c: getattr(c, "name", ""))
def test_big_numbers(host: Host, session: int, command: Crypt, expected: Callable[[int, int], int]) -> None:
    rng, numbers = random.Random(command), Numbers(host, session)
    for bits in (8, 31, 32, 33, 64, 521, BITS):
        a, b = rng.getrandbits(bits), rng.getrandbits(bits) | 3
        while math.gcd(a, b) != 1:
            a += 1
        handles = numbers.new(a), numbers.new(b), numbers.new()
        numbers.call(command, *handles)
        assert numbers.get(handles[2]) == expected(a, b)
        numbers.free(*handles)


def test_big_division_and_powers(host: Host, session: int) -> None:
    rng, numbers = random.Random(1), Numbers(host, session)
    a, b, n = (rng.getrandbits(512) | 1 for _ in range(3))
    quotient, remainder = numbers.new(), numbers.new()
    numbers.call(Crypt.ARITH_DIV, numbers.new(a * b + 5), numbers.new(b), quotient, remainder)
    assert (numbers.get(quotient), numbers.get(remainder)) == divmod(a * b + 5, b)
    numbers.call(Crypt.ARITH_MULMOD, numbers.new(a), numbers.new(b), numbers.new(n), quotient)
    assert numbers.get(quotient) == a * b % n
    numbers.call(Crypt.ARITH_EXPMOD, numbers.new(a), numbers.new(b), numbers.new(n), NO_HANDLE, quotient)
    assert numbers.get(quotient) == pow(a, b, n)


@pytest.mark.parametrize(("number", "prime"), [(2**127 - 1, 1), (2**521 - 1, 1), ((2**61 - 1) * (2**89 - 1), 0)])
def test_primes(host: Host, session: int, number: int, prime: int) -> None:
    answer = value_out()
    handle = Numbers(host, session).new(number)
    host.succeed(session, Crypt.ARITH_IS_PRIME, value(handle, 80), answer)
    assert answer.a == prime


# --- 4013, 5006: the system PTA


def test_ta_unique_key(host: Host, session: int) -> None:
    """Same for the same extra data, another for other, limits of sizes; and never into non-secure memory."""
    host.succeed(session, Crypt.DERIVE_TA_UNIQUE_KEY)
    outcome = host.invoke(session, Crypt.DERIVE_TA_UNIQUE_KEY_SHM, host.input(bytes(32)), host.output(32))
    assert outcome == Outcome(results.SECURITY, Origin.TRUSTED_APP)
    assert not host.watch.crashes


def test_the_system_pta_is_for_tas(host: Host) -> None:
    """Its own refusal, so of origin TRUSTED_APP, as for any pseudo TA (core/kernel/pseudo_ta.c)."""
    opened = host.world.open_session(UUID("3a2f8978-5dc0-11e8-9c2d-fa7ae01bbebc"))
    assert opened == (0, results.ACCESS_DENIED, Origin.TRUSTED_APP)


def test_seed_rng(host: Host, session: int) -> None:
    host.succeed(session, Crypt.SEED_RNG_POOL, host.input(b"some entropy"))
    assert host.invoke(session, Crypt.SEED_RNG_POOL, host.input(b"")) == BAD_PARAMETERS
