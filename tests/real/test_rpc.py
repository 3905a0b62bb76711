"""OP-TEE's rpc_test: calls crypt and sims from inside, with shared and with private memory (regression_1011)."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tee.abi import results
from tee.abi.results import Origin
from tee.world import Outcome
from tests.real.host import Host, content
from tests.real.tas import RPC, Rpc

KEY = bytes(range(32))
"""Of crypt's AES commands; ta/crypt/aes_taf.c."""


@pytest.fixture
def session(host: Host) -> int:
    return host.open(RPC)


@pytest.mark.parametrize("command", [Rpc.SHA224, Rpc.SHA256, Rpc.PRIVMEM_SHA224, Rpc.PRIVMEM_SHA256])
def test_sha2(host: Host, session: int, command: Rpc) -> None:
    algorithm: hashes.HashAlgorithm = hashes.SHA224() if "SHA224" in command.name else hashes.SHA256()
    for size in (1, 3, 64, 4096, 5000):
        data = random.Random(size).randbytes(size)
        digest = host.output(algorithm.digest_size)
        host.succeed(session, command, host.input(data), digest)
        expected = hashes.Hash(algorithm)
        expected.update(data)
        assert content(digest) == expected.finalize()


@pytest.mark.parametrize("private", [False, True])
def test_aes(host: Host, session: int, private: bool) -> None:
    encrypt, decrypt = (
        (Rpc.PRIVMEM_AES256ECB_ENC, Rpc.PRIVMEM_AES256ECB_DEC) if private else (Rpc.AES256ECB_ENC, Rpc.AES256ECB_DEC)
    )
    data = random.Random(1).randbytes(160)
    encryptor = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor()
    encrypted, decrypted = host.output(len(data)), host.output(len(data))
    host.succeed(session, encrypt, host.input(data), encrypted)
    assert content(encrypted) == encryptor.update(data) + encryptor.finalize()
    host.succeed(session, decrypt, host.input(content(encrypted)), decrypted)
    assert content(decrypted) == data


@pytest.mark.parametrize("command", [Rpc.SHA256, Rpc.PRIVMEM_SHA256])
def test_the_called_tas_error_comes_back(host: Host, session: int, command: Rpc) -> None:
    outcome = host.invoke(session, command, host.input(b"abc"), host.output(31))
    assert outcome == Outcome(results.BAD_PARAMETERS, Origin.TRUSTED_APP)
    assert not host.watch.crashes


def test_open_a_single_instance_ta(host: Host, session: int) -> None:
    for _ in range(3):
        host.succeed(session, Rpc.OPEN)
    assert host.world.instances == 0


def test_unknown_command(host: Host, session: int) -> None:
    assert host.invoke(session, 99) == Outcome(results.BAD_PARAMETERS, Origin.TRUSTED_APP)
