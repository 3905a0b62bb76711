"""OP-TEE's os_test TA: every command's documented result (optee_test 4.5 regression_1000.c, ta/os_test)."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tee.abi import results
from tee.abi.login import Login
from tee.abi.pta_uuids import PTA_ATTESTATION_UUID
from tee.abi.results import Origin
from tee.params import Kind, Memref, Param
from tee.pta.attestation import AttestationPta
from tee.world import PUBLIC, Cancellation, Client, Outcome
from tests.real.callsite import INDIRECT, code, offset
from tests.real.host import Host, content, functions, null, value, value_out
from tests.real.tas import OS_TEST, OS_TEST_LIB, Os
from tests.threads import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from south.platform import Pages
    from tee.records import Crash

PAGE = 4096
DEAD = Outcome(results.TARGET_DEAD, Origin.TEE)
IN, OUT, INOUT = Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT, Kind.MEMREF_INOUT


def from_ta(result: results.Result) -> Outcome:
    return Outcome(result, Origin.TRUSTED_APP)


@pytest.fixture
def session(host: Host) -> int:
    return host.open(OS_TEST)


def crash_of(host: Host, session: int, command: Os, *params: Param) -> Crash:
    """Invoke what kills the TA; the session stays dead, another one works."""
    assert host.invoke(session, command, *params) == DEAD
    assert host.invoke(session, Os.INIT) == DEAD
    (crash,) = host.watch.crashes
    assert crash.uuid == OS_TEST
    host.close_session(session)
    host.succeed(host.open(OS_TEST), Os.CALL_LIB)
    return crash


def calls(host: Host, crash: Crash) -> list[str | None]:
    """What each frame but the first calls, read from the images' instructions: the stack as it must be."""
    images = {str(uuid): bytes(host.store.find(uuid).elf) for uuid in (OS_TEST, OS_TEST_LIB)}
    return [code(images[f.module]).called(offset(crash, f)) for f in crash.backtrace[1:]]


# --- 1006: basics


def test_basic(host: Host, session: int) -> None:
    """Properties, access rights, time, floating point, setjmp, and bget with its 53,420 random numbers."""
    host.succeed(session, Os.BASIC, host.input(bytes(32)))
    for section in ("current TA", "current client", "implementation"):
        assert f"Getting properties for {section}" in host.watch.log
    assert re.search(r"After release: (\d{5,}) gets, \1 releases\.  0 in use", host.watch.log)


def test_basic_demands_a_memref(host: Host, session: int) -> None:
    assert host.invoke(session, Os.BASIC) == from_ta(results.BAD_PARAMETERS)


def test_time_is_not_set_before_somebody_sets_it(host: Host, session: int) -> None:
    assert host.invoke(session, Os.INIT) == from_ta(results.TIME_NOT_SET)


def test_unknown_command(host: Host, session: int) -> None:
    assert host.invoke(session, 99) == from_ta(results.BAD_PARAMETERS)


# --- 1007, 1010, 1019, 1022: panics and faults

ENTRY = ["TA_InvokeCommandEntryPoint", "__utee_entry"]
"""What the outermost frames call. TA_InvokeCommandEntryPoint jumps on to the command's function and leaves no frame."""
PANICS = [
    # command, code, what the panicking function's caller is seen to call
    (Os.PANIC, 0xBEEF, "TEE_Panic"),
    (Os.CALL_LIB_PANIC, 0, "os_test_shlib_panic"),  # which jumps on to TEE_Panic and leaves no frame
    (Os.CALL_LIB_DL_PANIC, 0, INDIRECT),  # likewise, by a pointer from dlsym
]


@pytest.mark.parametrize(("command", "panic_code", "culprit"), PANICS)
def test_panic(host: Host, session: int, command: Os, panic_code: int, culprit: str) -> None:
    crash = crash_of(host, session, command)
    assert (crash.kind, crash.code) == ("panic", panic_code)
    assert functions(crash) == ["__utee_panic", "_utee_panic", "", "__utee_entry", ""]
    assert [UUID(f.module) for f in crash.backtrace] == [OS_TEST_LIB, OS_TEST_LIB, OS_TEST, OS_TEST_LIB, OS_TEST]
    assert calls(host, crash) == ["__utee_panic", culprit, *ENTRY]


BAD_ACCESSES = {
    1: ("fault", r"write to 0x0 is not allowed"),
    2: ("fault", r"write to 0x[0-9a-f]+ is not allowed"),
    3: ("fault", r"execution at 0x0 is not allowed"),
    4: ("fault", r"execution at 0x[0-9a-f]+ is not allowed"),
    5: ("exception", r"undefined instruction at pc"),
    6: ("fault", r"read of 0x[0-9a-f]+ is not allowed"),
    7: ("fault", r"write to 0x[0-9a-f]+ is not allowed"),
}
BAD = [(number, None) for number in BAD_ACCESSES] + [(n, size) for size in (1024, 65536) for n in range(1, 6)]


@pytest.mark.parametrize(("number", "size"), BAD)
def test_bad_memory_access(host: Host, session: int, number: int, size: int | None) -> None:
    """NULL and wild stores and jumps, an undefined instruction, and TEE_Malloc(0)'s pointer used."""
    params: list[Param] = [value(number)]
    if size is not None:
        params.append(host.inout(bytes(size)))
    crash = crash_of(host, session, Os.BAD_MEM_ACCESS, *params)
    kind, detail = BAD_ACCESSES[number]
    assert crash.kind == kind
    assert re.match(detail, crash.detail)
    jumped = number in (3, 4)
    if jumped:
        assert crash.backtrace[0].module == ""
    assert functions(crash)[int(jumped) :] == ["", "__utee_entry", ""]
    assert crash.backtrace[-2].module == str(OS_TEST_LIB)
    assert calls(host, crash) == ([INDIRECT] if jumped else []) + ENTRY


# --- 1008, 1009: TA to TA, timeouts, waiting and cancellation


def test_client(host: Host, session: int) -> None:
    """TEE_OpenTASession, TEE_InvokeTACommand to crypt: SHA-256 from and to private memory."""
    host.succeed(session, Os.CLIENT)


def test_client_timeout_becomes_a_cancellation(host: Host, session: int) -> None:
    start = time.monotonic()
    host.succeed(session, Os.CLIENT_WITH_TIMEOUT, value(1000))
    assert 0.5 <= time.monotonic() - start < PATIENCE


def test_wait(host: Host, session: int) -> None:
    start = time.monotonic()
    host.succeed(session, Os.WAIT, value(100))
    assert 0.1 <= time.monotonic() - start < PATIENCE


def test_wait_cancelled_by_another_thread(host: Host, session: int) -> None:
    cancellation = Cancellation()
    timer = threading.Timer(0.1, cancellation.request)
    start = time.monotonic()
    timer.start()
    outcome = host.invoke(session, Os.WAIT, value(100_000), cancellation=cancellation)
    timer.join()
    assert outcome == from_ta(results.CANCEL)
    assert 0.1 <= time.monotonic() - start < PATIENCE
    host.succeed(session, Os.WAIT, value(1))  # the request was for that call alone


def test_wait_cancelled_by_its_timeout(host: Host, session: int) -> None:
    assert host.invoke(session, Os.WAIT, value(5000), timeout=0.05) == from_ta(results.CANCEL)


# --- 1016, 1017, 1018, 1025: memrefs


def test_params_access_from_the_normal_world(host: Host, session: int) -> None:
    """Shared memory is readable only where any owner will do; a NULL memref arrives as one."""
    host.succeed(session, Os.PARAMS_ACCESS, host.input(bytes(32)), null(IN))


def test_memrefs_between_tas(host: Host, session: int) -> None:
    """In, inout and out buffers on the caller's stack, twice."""
    host.succeed(session, Os.TA2TA_MEMREF)


def test_memref_mix(host: Host, session: int) -> None:
    inout, out = host.inout(b"\x0a" * 100), host.output(100)
    host.succeed(session, Os.TA2TA_MEMREF_MIX, host.input(b"\x05" * 100), inout, out)
    assert content(inout) == b"\x0b" * 100
    assert content(out) == b"\x10" * 100


def empty(host: Host, kind: Kind, size: int = 0) -> Memref:
    """A memref of no bytes that is not NULL."""
    return Memref(kind, host.platform.pages.shared(1), size)


def test_empty_memrefs_between_tas(host: Host, session: int) -> None:
    host.succeed(session, Os.TA2TA_MEMREF_SIZE0, empty(host, IN), empty(host, INOUT), empty(host, OUT))


def test_null_memrefs_for_ta2ta_are_refused_by_the_ta(host: Host, session: int) -> None:
    outcome = host.invoke(session, Os.TA2TA_MEMREF_SIZE0, null(IN), null(INOUT), null(OUT))
    assert outcome == from_ta(results.BAD_PARAMETERS)


def test_null_and_empty_memrefs_differ(host: Host, session: int) -> None:
    host.succeed(session, Os.NULL_MEMREF_PARAMS, empty(host, IN), null(IN), empty(host, OUT), null(OUT))
    outcome = host.invoke(session, Os.NULL_MEMREF_PARAMS, empty(host, IN, 1), null(IN), empty(host, OUT), null(OUT))
    assert outcome == from_ta(results.BAD_PARAMETERS)
    outcome = host.invoke(session, Os.NULL_MEMREF_PARAMS, empty(host, IN), empty(host, IN), empty(host, OUT), null(OUT))
    assert outcome == from_ta(results.BAD_PARAMETERS)


def parts(pages: Pages, *places: tuple[int, int]) -> list[Memref]:
    """Two inputs and two outputs of one memory, (offset, bytes) each."""
    return [Memref(k, pages, size, at) for k, (at, size) in zip((IN, IN, OUT, OUT), places, strict=True)]


def test_memrefs_of_one_memory(host: Host, session: int) -> None:
    """Neighbours, and others with gaps between."""
    pages = host.platform.pages.shared(8 * PAGE)
    host.succeed(session, Os.PARAMS, *parts(pages, (0, PAGE), (PAGE, PAGE), (4 * PAGE, PAGE), (6 * PAGE, 2 * PAGE)))


OUTSIDE = [
    [(0, PAGE), (PAGE, PAGE), (4 * PAGE, PAGE), (6 * PAGE, 3 * PAGE)],
    [(0, PAGE), (PAGE, PAGE), (4 * PAGE, PAGE), (4 * PAGE + 1, 4 * PAGE)],
    [(0, 1), (8 * PAGE, 1), (0, 1), (0, 1)],
    [(0, 1), (0, 1 << 40), (0, 1), (0, 1)],
    [(0, 1), ((1 << 64) - PAGE, PAGE), (0, 1), (0, 1)],
    [(0, 1), (0, (1 << 64) - 1), (0, 1), (0, 1)],
]


@pytest.mark.parametrize("places", OUTSIDE)
def test_memref_out_of_bounds(host: Host, session: int, places: Sequence[tuple[int, int]]) -> None:
    pages = host.platform.pages.shared(8 * PAGE)
    outcome = host.invoke(session, Os.PARAMS, *parts(pages, *places))
    assert outcome == Outcome(results.BAD_PARAMETERS, Origin.TEE)
    host.succeed(session, Os.CALL_LIB)


# --- 1019, 1022, 1023, 1030: shared libraries


def test_call_library(host: Host, session: int) -> None:
    host.succeed(session, Os.CALL_LIB)


def test_dlopen_dlsym_dlclose(host: Host, session: int) -> None:
    host.succeed(session, Os.CALL_LIB_DL)
    host.succeed(session, Os.CALL_LIB_DL)


def test_constructors_run_in_order(host: Host, session: int) -> None:
    """Each multiplies by 10 and adds its number: library 2, then TA 1, then the opened library 3, once."""
    variable = value_out()
    host.succeed(session, Os.GET_GLOBAL_VAR, variable)
    assert variable.a == 21
    for _ in range(2):
        host.succeed(session, Os.CALL_LIB_DL)
        host.succeed(session, Os.GET_GLOBAL_VAR, variable)
        assert variable.a == 213


def test_dl_iterate_phdr(host: Host, session: int) -> None:
    """The TA counts modules: two at least, and three when it has opened another library."""
    host.succeed(session, Os.DL_PHDR)
    host.succeed(session, Os.DL_PHDR_DL)


# --- 1026 to 1028: who is the client

LINUX_CLIENTS = UUID("58ac9ca0-2086-4683-a1b8-ec4bc08e01b6")
"""The kernel's name space for client UUIDs (drivers/tee/tee_core.c)."""
CLIENTS = [
    PUBLIC,
    Client(Login.USER, uuid5(LINUX_CLIENTS, "uid=3e8")),
    Client(Login.GROUP, uuid5(LINUX_CLIENTS, "gid=3e8")),
    Client(Login.REE_KERNEL),
]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: Login(client.login).name)
def test_client_identity(host: Host, client: Client) -> None:
    session = host.open(OS_TEST, client=client)
    login, uuid = value_out(), host.output(16)
    host.succeed(session, Os.CLIENT_IDENTITY, login, uuid)
    assert login.a == client.login
    assert UUID(bytes_le=content(uuid)) == client.uuid


def test_client_identity_into_a_short_buffer(host: Host, session: int) -> None:
    uuid = host.output(15)
    outcome = host.invoke(session, Os.CLIENT_IDENTITY, value_out(), uuid)
    assert outcome == from_ta(results.SHORT_BUFFER)
    assert uuid.size == 16


def test_nobody_outside_is_a_ta(host: Host) -> None:
    opened = host.world.open_session(OS_TEST, client=Client(Login.TRUSTED_APP, OS_TEST))
    assert (opened.session, opened.result) == (0, results.ACCESS_DENIED)


# --- 1029, 1031, 1036, 1037, 1038: what Debian's build of the TA lacks, and says so

NOT_BUILT = [
    *(Os.TLS_TEST_MAIN, Os.TLS_TEST_SHLIB),  # WITH_TLS_TESTS
    *(Os.CXX_CTOR_MAIN, Os.CXX_CTOR_SHLIB, Os.CXX_CTOR_SHLIB_DL, Os.CXX_EXC_MAIN, Os.CXX_EXC_MIXED),  # WITH_CXX_TESTS
    *(Os.PAUTH_NOP, Os.PAUTH_CORRUPT_PAC),  # CFG_TA_PAUTH
    *(Os.MEMTAG_USE_AFTER_FREE, Os.MEMTAG_INVALID_TAG, Os.MEMTAG_DOUBLE_FREE, Os.MEMTAG_BUFFER_OVERRUN),  # CFG_MEMTAG
]


@pytest.mark.parametrize("command", NOT_BUILT)
def test_what_the_ta_was_built_without(host: Host, session: int, command: Os) -> None:
    assert host.invoke(session, command) == from_ta(results.NOT_SUPPORTED)


def attest(host: Host, session: int) -> bytes:
    """The TA's memory as it measures itself, the signature checked."""
    nonce = b"\x12\x34\x56\x78"
    out = host.output(32 + 512)
    assert host.invoke(session, Os.ATTESTATION, host.input(nonce), out) == from_ta(results.SUCCESS)
    key = host.world.find_pta(PTA_ATTESTATION_UUID)
    assert isinstance(key, AttestationPta)
    assert out.size == 32 + len(key.key().modulus)
    measured = content(out)
    public = rsa.RSAPublicNumbers(65537, int.from_bytes(key.key().modulus, "big")).public_key()
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    public.verify(measured[32:], nonce + measured[:32], pss, hashes.SHA256())
    return measured[:32]


def test_a_ta_measures_its_own_memory(host: Host) -> None:
    """The digest is the same wherever the TA was loaded, and another once there is a library more (xtest 1037)."""
    first = host.open(OS_TEST)
    digest = attest(host, first)
    assert attest(host, first) == digest
    host.close_session(first)
    again = host.open(OS_TEST)
    assert attest(host, again) == digest
    host.succeed(again, Os.CALL_LIB_DL)
    assert attest(host, again) != digest
