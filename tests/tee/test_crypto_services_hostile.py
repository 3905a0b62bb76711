"""Whatever words a TA passes, a call answers a TEE_Result, and the host holds no more than its limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tee.abi.algorithms import Algorithm
from tee.abi.objects import ObjectType
from tee.abi.results import Result
from tee.crypto.task import Task
from tests.tee.fake_ta import BASE, ROWS, SIZE, FakeTask

_NAMES = sorted(ROWS)
_WORDS = st.one_of(
    st.integers(0, 24),
    st.sampled_from([*map(int, Algorithm), *map(int, ObjectType)]),
    st.integers(BASE - 64, BASE + 512),
    st.integers(BASE + SIZE - 4200, BASE + SIZE + 64),
    st.sampled_from([128, 256, 512, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1]),
    st.integers(0, (1 << 64) - 1),
)
_CALL = st.tuples(st.sampled_from(_NAMES), st.lists(_WORDS, min_size=8, max_size=8))


@pytest.mark.parametrize("word", [4, 8])
@given(calls=st.lists(_CALL, max_size=24), memory=st.binary(max_size=512))
@settings(max_examples=100)
def test_any_words(word: int, calls: list[tuple[str, list[int]]], memory: bytes) -> None:
    native = Task(max_states=8)
    ta = FakeTask(native, limit=8, word=word)
    ta.memory.copy_out(BASE, memory)
    mask = (1 << 8 * word) - 1
    for name, words in calls:
        assert isinstance(ta.call(name, *(each & mask for each in words)), Result), name
        assert len(ta.objects) <= 8
        assert len(ta.objects.operations) == native.state_count <= 8
    native.close()
