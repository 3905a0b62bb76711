"""The test PTA: what regression_1002 and 1025 of xtest check, at every position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tee.abi import results
from tee.errors import TeeError
from tee.params import Kind, Value
from tee.pta.invoke_tests import InvokeTestsPta
from tests.tee.pta_kit import Memory, memref, value

TRACE, PARAMS, MEMREF_NULL = 0, 1, 10
WORD = st.integers(0, (1 << 32) - 1)


class Lines:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def call(command: int, *params: object, console: Lines | None = None) -> None:
    InvokeTestsPta(console or Lines()).invoke(None, command, (*params, *[None] * (4 - len(params))), None)  # type: ignore[arg-type]


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
    assert refused(2) == results.BAD_PARAMETERS
