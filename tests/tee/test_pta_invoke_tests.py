"""The test PTA: what regression_1002 and 1025 of xtest check, at every position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee.abi import results
from tee.errors import TeeError
from tee.params import Kind, Value
from tee.pta.invoke_tests import InvokeTestsPta
from tests.fakes import Lines
from tests.tee.pta_kit import Memory, host_platform, memref, value

TRACE, PARAMS, MEMREF_NULL = 0, 1, 10
COPY_IN, MODIFY, COPY_OUT = 3, 4, 5
SILENT = Lines()
WORD = st.integers(0, (1 << 32) - 1)


def call(command: int, *params: object, console: Lines | None = None) -> None:
    InvokeTestsPta(host_platform(console or SILENT)).invoke(None, command, (*params, *[None] * (4 - len(params))), None)  # type: ignore[arg-type]


def refused(command: int, *params: object) -> int:
    with pytest.raises(TeeError) as caught:
        call(command, *params)
    return caught.value.result


def test_trace() -> None:
    console = Lines()
    call(TRACE, console=console)
    assert "Hello world !" in console.text


@pytest.mark.parametrize("place", range(4))
@given(a=WORD, b=WORD)
def test_sum_in_place(place: int, a: int, b: int) -> None:
    both = value(Kind.VALUE_INOUT, a, b)
    call(PARAMS, *[None] * place, both)
    assert (both.a, both.b) == ((a + b) % (1 << 32), b)


@pytest.mark.parametrize("place", range(4))
def test_sum_of_three(place: int) -> None:
    params: list[Value] = [value(Kind.VALUE_INPUT, 0xFFFFFFF0 + n, n) for n in range(3)]
    out = value(Kind.VALUE_OUTPUT)
    params.insert(place, out)
    call(PARAMS, *params)
    assert (out.a, out.b) == ((3 * 0xFFFFFFF0 + 3) % (1 << 32), 3)


@pytest.mark.parametrize("place", range(4))
@given(data=st.binary(min_size=1, max_size=300))
def test_sum_of_bytes(place: int, data: bytes) -> None:
    memory = Memory(data)
    ref = memory.memref(Kind.MEMREF_INOUT)
    call(PARAMS, *[None] * place, ref)
    assert bytes(memory.data) == bytes([sum(data) % 256]) + data[1:]
    assert ref.size == len(data)


def test_null() -> None:
    call(MEMREF_NULL, memref(Kind.MEMREF_INOUT, null=True))
    assert refused(MEMREF_NULL, memref(Kind.MEMREF_INOUT)) == results.BAD_PARAMETERS
    assert refused(MEMREF_NULL, memref(Kind.MEMREF_INPUT, null=True)) == results.BAD_PARAMETERS
    assert refused(PARAMS, memref(Kind.MEMREF_INOUT, null=True)) == results.BAD_PARAMETERS


def test_everything_else_is_refused() -> None:
    assert refused(PARAMS) == results.BAD_PARAMETERS
    assert refused(PARAMS, value(Kind.VALUE_INPUT)) == results.BAD_PARAMETERS
    assert refused(PARAMS, *[value(Kind.VALUE_INPUT)] * 4) == results.BAD_PARAMETERS
    assert refused(PARAMS, memref(Kind.MEMREF_INPUT, b"x")) == results.BAD_PARAMETERS
    assert refused(13) == results.BAD_PARAMETERS


# --- Secure Data Path: secure memory and the normal world's, one into the other


@pytest.mark.parametrize(("command", "to_secure"), [(COPY_IN, True), (COPY_OUT, False)])
def test_copies_over_the_border(command: int, to_secure: bool) -> None:
    out = Memory(bytes(8))
    target = out.memref(Kind.MEMREF_OUTPUT, secure=to_secure)
    call(command, memref(Kind.MEMREF_INPUT, b"secret", secure=not to_secure), target)
    assert bytes(out.data) == b"secret\0\0"
    assert target.size == 8


@pytest.mark.parametrize(("command", "to_secure"), [(COPY_IN, True), (COPY_OUT, False)])
def test_nothing_else_is_copied(command: int, to_secure: bool) -> None:
    for source, target in ((True, True), (False, False), (to_secure, not to_secure)):
        out = Memory(bytes(8))
        there = out.memref(Kind.MEMREF_OUTPUT, secure=target)
        assert refused(command, memref(Kind.MEMREF_INPUT, b"secret", secure=source), there) == results.BAD_PARAMETERS
        assert not any(out.data)
    short = memref(Kind.MEMREF_OUTPUT, bytes(5), secure=to_secure)
    assert refused(command, memref(Kind.MEMREF_INPUT, b"secret", secure=not to_secure), short) == results.SHORT_BUFFER
    assert short.size == 6
    assert refused(command, memref(Kind.MEMREF_INPUT, b"x")) == results.BAD_PARAMETERS


def test_bytes_are_negated_in_secure_memory_alone() -> None:
    memory = Memory(bytes((0, 1, 0x80, 0xFF)))
    call(MODIFY, memory.memref(Kind.MEMREF_INOUT))
    assert bytes(memory.data) == bytes((0, 0xFF, 0x80, 1))
    assert refused(MODIFY, memory.memref(Kind.MEMREF_INOUT, secure=False)) == results.BAD_PARAMETERS
    assert refused(MODIFY, memory.memref(Kind.MEMREF_INPUT)) == results.BAD_PARAMETERS
