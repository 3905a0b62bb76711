"""Our sample TAs built for arm and for aarch64 answer alike: results, origins, values, bytes and deaths.

Debian's TAs are aarch64 alone. The programs are the same C; what differs is the instruction set (A64; T32 with hard
float for hello, A32 for cryptdrv), the linking, the system-call convention and the size of a word.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from south.platform import Arch
from ta_loader import samples
from ta_loader.machines import TA_ARCHES
from tee.abi import results
from tee.abi.results import Origin, Result
from tee.limits import Limits
from tee.params import Kind, Memref, Param, Value
from tee.syscalls.crypto import ROWS
from tests.real.host import Host, content, functions, value, value_inout, value_out
from tests.tas import cryptdrv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

N = {row.name: row.number for row in ROWS}
SHA256, HMAC_SHA256, AES_CBC, AES_GCM = 0x50000004, 0x30000004, 0x10000110, 0x40000810
MODE_ENCRYPT, MODE_DECRYPT, MODE_MAC, MODE_DIGEST = 0, 1, 4, 5
TYPE_AES, TYPE_HMAC_SHA256, TYPE_RSA_KEYPAIR = 0xA0000010, 0xA0000004, 0xA1000030
ATTR_SECRET_VALUE = 0xC0000000
NONE = 0


class Answer(NamedTuple):
    """What a call came to. outputs: of each output parameter, values or size and bytes."""

    result: Result
    origin: Origin
    outputs: tuple[object, ...]


class Ta:
    """One TA of one architecture; keeps what it answered."""

    def __init__(self, host: Host, uuid: UUID) -> None:
        self.host, self.uuid = host, uuid
        self.session = host.open(uuid)
        self.answers: list[Answer] = []

    def call(self, command: int, *params: Param) -> Answer:
        outcome = self.host.invoke(self.session, command, *params)
        answer = Answer(outcome.result, outcome.origin, tuple(_output(p) for p in params))
        self.answers.append(answer)
        return answer

    def must(self, command: int, *params: Param) -> None:
        answer = self.call(command, *params)
        assert answer.result == results.SUCCESS, (command, answer)

    def deaths(self) -> list[tuple[str, int, str]]:
        """How it died, without addresses, then alive again."""
        self.host.close_session(self.session)
        self.session = self.host.open(self.uuid)
        seen = [(c.kind, c.code, re.sub(r"0x[0-9a-f]+", "X", c.detail)) for c in self.host.watch.crashes]
        self.host.watch.crashes.clear()
        return seen


def _output(param: Param) -> object:
    if isinstance(param, Value):
        return None if param.kind is Kind.VALUE_INPUT else (param.a, param.b)
    if isinstance(param, Memref) and param.kind is not Kind.MEMREF_INPUT and param.pages is not None:
        return param.size, bytes(param.pages.view(0, param.pages.size))
    return None


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[Arch, Host]]:
    """A world for each: what one did cannot show in the other."""
    made = {arch: Host(tmp_path / arch.value, limits=Limits(call_seconds=1.0)) for arch in TA_ARCHES}
    yield made
    for host in made.values():
        host.close()


# --- hello: commands and parameters in ta_loader/samples/README.md


def hello_commands(ta: Ta) -> None:
    host = ta.host
    for number in (0, 41, 0x7FFFFFFF, 0xFFFFFFFF):
        ta.must(0, value_inout(number, 5))
    for size in (0, 1, 63, 64, 4097):
        data = bytes(i * 7 & 255 for i in range(size))
        for command in (1, 3):
            digest = host.output(32)
            ta.must(command, host.input(data), digest)
            assert content(digest) == hashlib.sha256(data).digest()
            assert ta.call(command, host.input(data), host.output(31)).result == results.SHORT_BUFFER
    ta.must(5, host.input(b"hello from a TA"))
    ta.must(7)
    ta.must(7, value(1, 2), value_out(), host.inout(b"abc"))
    ta.must(8, value(10))
    ta.must(9, value(10))
    touched = host.inout(b"\xff" + bytes(4095))
    ta.must(13, touched)
    ta.must(14, value_out())
    ta.must(15, value(1000))
    for number in (0, 3, 1 << 20):
        ta.must(17, value_inout(number))
    count = host.inout(bytes(8))
    ta.must(18, value(1000), count)
    assert int.from_bytes(content(count)[:4], "little") == 1000


@pytest.mark.parametrize("arch", TA_ARCHES, ids=lambda a: a.value)
def test_hello_random(hosts: dict[Arch, Host], arch: Arch) -> None:
    ta = Ta(hosts[arch], samples.HELLO[arch])
    seen = set()
    for _ in range(3):
        out = ta.host.output(64)
        ta.must(4, out)
        seen.add(content(out))
    assert len(seen) == 3


def test_hello_answers_alike(hosts: dict[Arch, Host]) -> None:
    tas = {arch: Ta(hosts[arch], samples.HELLO[arch]) for arch in TA_ARCHES}
    for ta in tas.values():
        hello_commands(ta)
        assert not ta.host.watch.crashes
    assert tas[Arch.ARM].answers == tas[Arch.AARCH64].answers
    assert hosts[Arch.ARM].watch.log == hosts[Arch.AARCH64].watch.log == "hello from a TA\n"


def test_hello_refuses_alike(hosts: dict[Arch, Host]) -> None:
    """Every command with no parameters, and with parameters of the wrong kinds."""
    tas = {arch: Ta(hosts[arch], samples.HELLO[arch]) for arch in TA_ARCHES}
    harmless = [n for n in range(25) if n not in (2, 6, 11, 12)]
    for ta in tas.values():
        for command in harmless:
            ta.call(command)
            ta.call(command, value_out(), ta.host.output(16), value(1), ta.host.inout(b"x"))
        assert not ta.host.watch.crashes
    assert tas[Arch.ARM].answers == tas[Arch.AARCH64].answers
    assert {a.result for a in tas[Arch.ARM].answers} >= {results.BAD_PARAMETERS, results.NOT_SUPPORTED}


DEADLY = {
    "panic": (2, [0x1234], [("panic", 0x1234, "TEE_Panic(X)")]),
    "loop": (6, [], [("limit", 0, "the call ran for more than 1.0 s")]),
    "wild write": (10, [0x1000, 7], [("fault", 0, "write to X is not allowed, at pc X")]),
    "recursion": (11, [], [("fault", 0, "write to X is not allowed, at pc X")]),
    "executes data": (12, [], [("fault", 0, "execution at X is not allowed, at pc X")]),
    "wild read": (16, [0x1000], [("fault", 0, "read of X is not allowed, at pc X")]),
}


@pytest.mark.parametrize("misdeed", DEADLY)
@pytest.mark.parametrize("arch", TA_ARCHES, ids=lambda a: a.value)
def test_hello_dies_alike(hosts: dict[Arch, Host], arch: Arch, misdeed: str) -> None:
    command, words, deaths = DEADLY[misdeed]
    ta = Ta(hosts[arch], samples.HELLO[arch])
    params: list[Param] = [value(word) for word in words]
    if command == 16:
        params.append(value_out())
    assert ta.call(command, *params)[:2] == (results.TARGET_DEAD, Origin.TEE)
    crash = ta.host.watch.crashes[0]
    names = functions(crash)
    assert set(names) == {"recurse"} if misdeed == "recursion" else names[-2:] == ["ta_invoke", "__ta_entry"]
    assert ta.deaths() == deaths
    ta.must(0, value_inout(1))


# --- cryptdrv: one command for each cryptographic system call; tests/tas/cryptdrv/README.md

KEY, IV, DATA = bytes(range(16)), bytes(range(16, 32)), bytes(range(256)) * 20


def new_key(ta: Ta, kind: int, key: bytes) -> int:
    handle = value_out()
    ta.must(N["cryp_obj_alloc"], value(kind, 8 * len(key)), handle)
    ta.must(N["cryp_obj_populate"], value(handle.a), ta.host.input(cryptdrv.attributes((ATTR_SECRET_VALUE, key))))
    return handle.a


def new_state(ta: Ta, algorithm: int, mode: int, key: int = NONE) -> int:
    state = value_out()
    ta.must(N["cryp_state_alloc"], value(algorithm, mode), value(key, NONE), state)
    return state.a


def objects(ta: Ta) -> None:
    host, key = ta.host, new_key(ta, TYPE_AES, KEY)
    info, attribute = host.output(64), host.output(64)
    ta.must(N["cryp_obj_get_info"], value(key), info)
    ta.must(N["cryp_obj_get_attr"], value(key, ATTR_SECRET_VALUE), attribute)
    assert content(attribute) == KEY
    other = value_out()
    ta.must(N["cryp_obj_alloc"], value(TYPE_AES, 256), other)
    ta.must(N["cryp_obj_copy"], value(other.a, key))
    ta.must(N["cryp_obj_restrict_usage"], value(other.a, 0))
    ta.must(N["cryp_obj_get_info"], value(other.a), host.output(64))
    ta.call(N["cryp_obj_get_attr"], value(other.a, ATTR_SECRET_VALUE), host.output(64))
    ta.must(N["cryp_obj_reset"], value(other.a))
    ta.must(N["cryp_obj_close"], value(other.a))
    ta.must(N["cryp_obj_close"], value(key))
    ta.call(N["cryp_obj_close"], value(key))


def digests(ta: Ta) -> None:
    host, state = ta.host, new_state(ta, SHA256, MODE_DIGEST)
    copy = new_state(ta, SHA256, MODE_DIGEST)
    ta.must(N["hash_init"], value(state), host.input(b""))
    ta.must(N["hash_update"], value(state), host.input(DATA))
    ta.must(N["cryp_state_copy"], value(copy, state))
    for handle, rest in ((state, b"abc"), (copy, b"")):
        digest = host.output(32)
        ta.must(N["hash_final"], value(handle), host.input(rest), digest)
        assert content(digest) == hashlib.sha256(DATA + rest).digest()
    ta.must(N["cryp_state_free"], value(state))
    ta.call(N["hash_update"], value(state), host.input(DATA))


def ciphers(ta: Ta) -> None:
    host = ta.host
    state = new_state(ta, AES_CBC, MODE_ENCRYPT, new_key(ta, TYPE_AES, KEY))
    ta.must(N["cipher_init"], value(state), host.input(IV))
    head, tail = host.output(4096), host.output(1024)
    ta.must(N["cipher_update"], value(state), host.input(DATA[:4096]), head)
    ta.must(N["cipher_final"], value(state), host.input(DATA[4096:]), tail)
    encryptor = Cipher(algorithms.AES(KEY), modes.CBC(IV)).encryptor()
    assert content(head) + content(tail) == encryptor.update(DATA)
    ta.must(N["cipher_init"], value(state), host.input(IV))
    ta.call(N["cipher_update"], value(state), host.input(DATA[:32]), host.output(16))
    ta.must(N["cryp_state_free"], value(state))


def macs(ta: Ta) -> None:
    host = ta.host
    state = new_state(ta, HMAC_SHA256, MODE_MAC, new_key(ta, TYPE_HMAC_SHA256, KEY * 2))
    ta.must(N["hash_init"], value(state), host.input(b""))
    mac = host.output(64)
    ta.must(N["hash_final"], value(state), host.input(DATA), mac)
    assert mac.size == 32


def authenticated(ta: Ta) -> None:
    host, key = ta.host, new_key(ta, TYPE_AES, KEY)
    sealed = AESGCM(KEY).encrypt(IV[:12], DATA, b"extra")
    for mode, data, expected in ((MODE_ENCRYPT, DATA, sealed[:-16]), (MODE_DECRYPT, sealed[:-16], DATA)):
        key = new_key(ta, TYPE_AES, KEY)
        state = new_state(ta, AES_GCM, mode, key)
        ta.must(N["authenc_init"], value(state, 16), host.input(IV[:12]), value(5, len(DATA)))
        ta.must(N["authenc_update_aad"], value(state), host.input(b"extra"))
        head, tail = host.output(160), host.output(len(DATA) - 160)
        ta.must(N["authenc_update_payload"], value(state), host.input(data[:160]), head)
        if mode == MODE_ENCRYPT:
            tag = host.output(16)
            ta.must(N["authenc_enc_final"], value(state), host.input(data[160:]), tail, tag)
            assert content(tag) == sealed[-16:]
        else:
            ta.must(N["authenc_dec_final"], value(state), host.input(data[160:]), tail, host.input(sealed[-16:]))
        assert content(head) + content(tail) == expected


def raw_calls(ta: Ta) -> None:
    """Any system call with any words: wild pointers, bad handles, unknown numbers."""
    records = b"".join(
        [
            cryptdrv.raw(N["cryp_random_number_generate"], 0, 16, relocate=1),
            cryptdrv.raw(N["cryp_random_number_generate"], 0x10, 16),
            cryptdrv.raw(N["cryp_obj_alloc"], TYPE_AES, 128, 0x10),
            cryptdrv.raw(N["cryp_obj_alloc"], TYPE_AES, 128, 4, relocate=4),
            cryptdrv.raw(N["cryp_obj_alloc"], TYPE_AES, 129, 4, relocate=4),
            cryptdrv.raw(N["cryp_state_free"], 77),
            cryptdrv.raw(N["hash_update"], 77, 0, 8, relocate=2),
            cryptdrv.raw(60),
            cryptdrv.raw(71, *range(8)),
        ]
    )
    run = ta.host.inout(records)
    scratch = ta.host.inout(bytes(4096))
    outcome = ta.host.invoke(ta.session, cryptdrv.CMD_RAW, run, scratch)
    assert not outcome.result
    answered = [cryptdrv.raw_result(content(run), i) for i in range(len(records) // cryptdrv.RAW_SIZE)]
    ta.answers.append(Answer(outcome.result, outcome.origin, tuple(answered)))
    assert answered[:4] == [results.SUCCESS, results.ACCESS_DENIED, results.ACCESS_DENIED, results.SUCCESS]


def refusals(ta: Ta) -> None:
    """Every command without parameters, with bad handles, and with parameters that make no sense."""
    host = ta.host
    for command in [*range(15, 41), 54, 3, 99]:
        ta.call(command)
        ta.call(command, value(77, 1), host.input(b"data"), value_out(), value(1))
        ta.call(command, value(77, 1), host.input(b"data"), host.output(16), host.output(16))
    ta.call(N["cryp_obj_alloc"], value(TYPE_RSA_KEYPAIR, 100), value_out())


SCRIPTS = [objects, digests, ciphers, macs, authenticated, raw_calls, refusals]


@pytest.mark.parametrize("script", SCRIPTS)
def test_cryptdrv_answers_alike(hosts: dict[Arch, Host], script: object) -> None:
    assert callable(script)
    tas = {arch: Ta(hosts[arch], cryptdrv.UUIDS[arch]) for arch in TA_ARCHES}
    deaths = []
    for ta in tas.values():
        script(ta)
        deaths.append(ta.deaths())
    assert deaths == [[], []]
    assert tas[Arch.ARM].answers == tas[Arch.AARCH64].answers
