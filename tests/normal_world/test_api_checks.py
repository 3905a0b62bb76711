"""What a caller of the Python API gets wrong is a TypeError or a ValueError at once, over each way to a TEE."""

from __future__ import annotations

import ctypes
import datetime
import math
import threading
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from normal_world import Context, Login, Memref, Operation, TeeError, Value, checks
from normal_world.client.options import LocalOptions
from normal_world.params import Kind, as_param
from south.platform import Arch
from ta_loader import samples
from tee.abi import results
from tests.normal_world.ways import connected, local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from normal_world import Session
    from normal_world.daemon.server import Server

HELLO = samples.HELLO[Arch.AARCH64]
INCREMENT, HASH = 0, 1
BAD_SECONDS: tuple[Any, ...] = (
    *(math.inf, -math.inf, math.nan, 1e300, 2e9, 10**400, -1, -0.001),
    *("5", "soon", b"1", True, [1], 1j, object(), datetime.timedelta(seconds=1)),
)
BAD_WORDS: tuple[Any, ...] = (
    -1,
    1 << 32,
    (1 << 32) + 210,
    10**30,
    -(10**30),
    1.5,
    2.0,
    "210",
    b"\x01",
    None,
    [],
    object(),
    True,
)


FOLDERS = ("ta_dirs", "trust", "plugin_dirs", "elf")


class Index:
    """As NumPy's integers are one."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number


@pytest.fixture(params=("local", "daemon", "device", "agent"))
def tee(
    request: pytest.FixtureRequest, daemon: tuple[str, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Context]:
    with connected(request.param, daemon[0], tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def session(tee: Context) -> Iterator[Session]:
    with tee.open_session(HELLO) as session:
        yield session


@pytest.fixture(autouse=True)
def no_thread_raises() -> Iterator[None]:
    """A helper thread that raises is what these checks are for; pytest alone would only warn."""
    seen: list[Any] = []
    before, threading.excepthook = threading.excepthook, seen.append
    yield
    threading.excepthook = before
    assert not seen


def refused(call: Callable[[], object]) -> None:
    with pytest.raises((TypeError, ValueError)) as problem:
        call()
    assert problem.type in (TypeError, ValueError)
    assert str(problem.value)


def test_command_numbers(session: Session) -> None:
    """Not cut to 32 bits: that would run another command. The session stays usable."""
    for wrong in BAD_WORDS:
        refused(lambda wrong=wrong: session.invoke(wrong))  # type: ignore[misc]
    value = Value.inout(1)
    session.invoke(Index(INCREMENT), value)  # type: ignore[arg-type]
    assert value.a == 2
    with pytest.raises(TeeError) as unknown:
        session.invoke(0xFFFFFFFF)
    assert unknown.value.result != results.TARGET_DEAD


def test_time_limits(tee: Context, session: Session) -> None:
    for wrong in BAD_SECONDS:
        refused(lambda wrong=wrong: session.invoke(INCREMENT, 1, timeout=wrong))  # type: ignore[misc]
        refused(lambda wrong=wrong: tee.open_session(HELLO, timeout=wrong))  # type: ignore[misc]
    for good in (checks.SECONDS_MAX, 1, Decimal(5), Fraction(5, 2), Index(7), 7.5):
        session.invoke(INCREMENT, Value.inout(1), timeout=good)  # type: ignore[arg-type]
    for other in ("operation", 5, object(), Operation):
        refused(lambda other=other: session.invoke(INCREMENT, operation=other))  # type: ignore[misc]


def test_logins(tee: Context) -> None:
    wrong: Any
    for wrong in (3, 7, -1, 1 << 32, "USER", None, 1.0, True):
        refused(lambda wrong=wrong: tee.open_session(HELLO, login=wrong))  # type: ignore[misc]
    for wrong in (*BAD_WORDS[:-4], object(), True):
        refused(lambda wrong=wrong: tee.open_session(HELLO, login=Login.GROUP, group=wrong))  # type: ignore[misc]
    tee.open_session(HELLO, login=1).close()  # type: ignore[arg-type]


def test_names_of_tas(tee: Context) -> None:
    for wrong in (5, None, b"hello", HELLO.bytes, object(), "", "no TA", "7371bc6b"):
        refused(lambda wrong=wrong: tee.open_session(wrong))  # type: ignore[misc]
    for good in (HELLO, str(HELLO), "hello", samples.hello()):
        tee.open_session(good).close()


def test_shared_memory(tee: Context) -> None:
    wrong: Any
    for wrong in (-1, 1 << 64, 10**30, 1.0, "16", None, True):
        refused(lambda wrong=wrong: tee.allocate(wrong))  # type: ignore[misc]
    for wrong in (0, 4, -1, 8, "INPUT", 1.0, True):
        refused(lambda wrong=wrong: tee.allocate(16, wrong))  # type: ignore[misc]
        refused(lambda wrong=wrong: tee.register(bytearray(16), wrong))  # type: ignore[misc]
    refused(lambda: tee.allocate(16, None))  # type: ignore[arg-type]
    for wrong in ("text", 5, None, [1], object()):
        refused(lambda wrong=wrong: tee.register(wrong))  # type: ignore[misc]
    refused(lambda: tee.register(memoryview(bytearray(16))[::2]))
    with tee.allocate(Index(16)) as shared:  # type: ignore[arg-type]
        assert len(shared) == 16


def test_memory_of_another_context_of_the_same_kind(tee: Context, session: Session, tmp_path: Path) -> None:
    with local(tmp_path / "one", samples.FOLDER, trust=samples.public_key_file()) as one:
        with local(tmp_path / "two", samples.FOLDER, trust=samples.public_key_file()) as two:
            with one.open_session(HELLO) as session, two.allocate(64) as foreign:
                with pytest.raises(TeeError) as other:
                    session.invoke(HASH, foreign, Memref.output(32))
                assert other.value.result == results.BAD_PARAMETERS


def test_values() -> None:
    for wrong in BAD_WORDS[:-1]:
        for make in (Value.input, Value.inout):
            refused(lambda make=make, wrong=wrong: make(wrong))  # type: ignore[misc]
            refused(lambda make=make, wrong=wrong: make(0, wrong))  # type: ignore[misc]
        value = Value.inout(1, 2)
        with pytest.raises((TypeError, ValueError)):
            value.a = wrong
        with pytest.raises((TypeError, ValueError)):
            value.b = wrong
        assert (value.a, value.b) == (1, 2)
    assert (Value.input(True).a, Value.input(Index(5)).a) == (1, 5)  # type: ignore[arg-type]
    for kind in (Kind.NONE, Kind.MEMREF_INPUT, 4, 8, "VALUE_INPUT", None, True):
        refused(lambda kind=kind: Value(kind))  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Value.input(1).kind = Kind.VALUE_OUTPUT  # type: ignore[misc]


def test_memrefs() -> None:
    data = bytearray(16)
    wrong: Any
    for wrong in (-1, 17, 1 << 32, 1.0, "1", None, True):
        refused(lambda wrong=wrong: Memref.inout(data, wrong))  # type: ignore[misc]
        if wrong is not None:
            refused(lambda wrong=wrong: Memref.inout(data, 0, wrong))  # type: ignore[misc]
    for wrong in (1 << 32, -1, 1.0):
        refused(lambda wrong=wrong: Memref.input(None, size=wrong))  # type: ignore[misc]
        refused(lambda wrong=wrong: Memref.output(wrong))  # type: ignore[misc]
    for wrong in ("text", True, [1], object(), memoryview(data)[::2]):
        refused(lambda wrong=wrong: Memref.output(wrong))  # type: ignore[misc]
        refused(lambda wrong=wrong: Memref.inout(wrong))  # type: ignore[misc]
    for kind in (Kind.NONE, Kind.VALUE_INPUT, 4, 8, "MEMREF_INPUT", None, True):
        refused(lambda kind=kind: Memref(kind, data))  # type: ignore[misc]
    memref = Memref.inout(data, 4, 8)
    for name, value in (("kind", Kind.MEMREF_INPUT), ("offset", 0), ("capacity", 99), ("buffer", None)):
        with pytest.raises(AttributeError):
            setattr(memref, name, value)
    assert len(Memref.output(Index(5)).data) == 5  # type: ignore[arg-type]


def test_plain_parameters(session: Session) -> None:
    for wrong in (
        "text",
        1.5,
        [1],
        {},
        object(),
        -1,
        1 << 32,
        (1, -1),
        (1, 2, 3),
        (),
        ("1", 2),
        memoryview(b"abcd")[::2],
    ):
        refused(lambda wrong=wrong: session.invoke(INCREMENT, wrong))  # type: ignore[misc]
    value = as_param(Index(5))
    assert isinstance(value, Value)
    assert (value.kind, value.a) == (Kind.VALUE_INPUT, 5)


def test_numbers_that_are_buffers_too_are_values() -> None:
    """NumPy's integers have `__index__` and the buffer protocol; its arrays as well, but are no numbers."""

    class Integer(ctypes.c_uint32):
        shape = ()

        def __index__(self) -> int:
            return int(self.value)

    class Array(ctypes.c_uint32):
        shape = (1,)

        def __index__(self) -> int:
            raise TypeError("only integer scalar arrays can be converted to a scalar index")

    number, array = as_param(Integer(7)), as_param(Array(7))
    assert isinstance(number, Value)
    assert number.a == 7
    assert isinstance(array, Memref)
    assert array.kind == Kind.MEMREF_INOUT
    assert len(Memref.output(Integer(9)).data) == 9  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        *({"timeout": wrong} for wrong in (*BAD_SECONDS, 0)),
        *({"plugin_seconds": wrong} for wrong in (*BAD_SECONDS, 0)),
        *({"memory": wrong} for wrong in (0, -1, (1 << 20) - 1, 1 << 40, 1.5e7, "64M", None, True)),
        *({name: wrong} for name in FOLDERS for wrong in ("out", b"a", 5, [5], None, [""])),
        *({"state": wrong} for wrong in (5, "", "a\0b", ["out"])),
        *({"enc_key": wrong} for wrong in (bytes(31), b"", "00" * 32, 5)),
        *({"sockets": wrong} for wrong in (5, None, "", "nowhere", "host:port", "127.0.0.1:99999")),
        *({name: wrong} for name in ("allow_unsigned", "rpmb_integrity") for wrong in (1, "yes", None)),
        *({"address_space": wrong} for wrong in ("", "narrow", 5, None)),
        {"log": "file"},
        {"no_such_option": 1},
        {"ta_dir": []},
    ],
)  # fmt: skip
def test_options_of_a_tee_in_this_process(options: dict[str, Any], tmp_path: Path) -> None:
    refused(lambda: Context(**{"state": tmp_path} | options))
    assert not list(tmp_path.iterdir())


def test_options_are_one_object(tmp_path: Path) -> None:
    refused(lambda: Context.local({"state": tmp_path}))  # type: ignore[arg-type]
    with Context.local(LocalOptions(state=tmp_path, ta_dirs=[tmp_path], timeout=Decimal(5), enc_key=bytearray(32))):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("make", [Context.daemon, Context.device])
def test_where_a_tee_is(make: Callable[[Any], Context], tmp_path: Path) -> None:
    for wrong in (5, "", "a\0b", ["out"], object(), True):
        refused(lambda wrong=wrong: make(wrong))  # type: ignore[misc]
    for nowhere in (tmp_path / "nobody", str(tmp_path / "x" / ("n" * 300))):
        with pytest.raises(TeeError) as missing:
            make(nowhere)
        assert missing.value.result == results.ITEM_NOT_FOUND


def test_a_uuid_outside_of_this_process(daemon: tuple[str, Server]) -> None:
    with Context.daemon(daemon[0]) as tee, pytest.raises(ValueError, match=r"ta: 'sha'.*no file UUID\.ta.*hello"):
        tee.open_session("sha")
    assert UUID(str(HELLO)) == HELLO


def test_without_a_thread_for_the_limit_no_call_begins(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    operation = Operation()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Timer, "start", no_thread)
        with pytest.raises(TeeError) as short:
            session.invoke(INCREMENT, Value.inout(1), timeout=5, operation=operation)
    assert short.value.result == results.OUT_OF_MEMORY
    operation.cancel()  # of a call that does not run; it would wait for ever for one that never begins
    assert session.invoke(INCREMENT, Value.inout(1))[0].a == 2  # type: ignore[union-attr]


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for option in ("ta_dirs", "plugin_dirs"):
        for name in ("absent", "file"):
            with pytest.raises(TeeError, match=f"{option}: .*{name}: no such folder") as refused:
                Context(state=tmp_path / "state", **{option: [tmp_path / name]})
            assert refused.value.result == results.BAD_PARAMETERS
