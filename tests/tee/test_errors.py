"""Errors that cross processes: a pool's worker pickles what its job raised."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from normal_world.died import Death, TaDied
from ta_loader.errors import ImageRefused
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Callable

TA = UUID("7371bc6b-0888-4252-9d3b-42ddcbca70fd")
ERRORS = [
    TeeError(results.SHORT_BUFFER, "too small", Origin.TRUSTED_APP),
    TeeError(0xDEAD),
    ImageRefused("hash", "it differs", key="a", tried=("b", "c"), path="x.ta"),
    TaDied("command 2", TA, Origin.TEE, [Death(TA, "panic")]),
    TaDied("command 2", TA, Origin.TEE),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_they_arrive_whole(error: TeeError, again: Callable[[TeeError], TeeError]) -> None:
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)
