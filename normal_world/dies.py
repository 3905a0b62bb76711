"""For tests: what a TA is expected to die of.

with expect_panic(0xbad):
    session.invoke(2, 0xbad)
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING

import pytest

from normal_world.checks import whole
from normal_world.died import KINDS, UNKNOWN, TaDied

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID


class DeathUnknownWarning(UserWarning):
    """A TA died as expected, but the way to the TEE does not say of what."""


class Expected:
    """What `expect_death` gives to the `with`. error: set when it has ended."""

    error: TaDied


@contextlib.contextmanager
def expect_panic(code: int | None = None, *, ta: UUID | None = None) -> Iterator[Expected]:
    """The calls in the `with` end in a panic of the TA with that code, None: any; else the test fails and says what
    happened. ta: of nested calls, which TA. Over the kernel's driver, which does not tell, any death will do, with a
    `DeathUnknownWarning`.
    """
    __tracebackhide__ = True
    if code is not None:
        code = whole(code, "code")
    with expect_death("panic", ta=ta) as expected:
        yield expected
    error = expected.error
    death = error.death if ta is None else next(death for death in error.deaths if death.ta == ta)
    if code is not None and death.kind != UNKNOWN and death.code != code:
        pytest.fail(f"the TA panicked with code {death.code:#x}, expected {code:#x}\n{death.summary}")


@contextlib.contextmanager
def expect_death(kind: str | None = None, *, ta: UUID | None = None) -> Iterator[Expected]:
    """As `expect_panic`, of any kind: panic, fault, exception, limit, killed; None: any of them."""
    __tracebackhide__ = True
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind: {kind!r} is none of {', '.join(KINDS)}")
    expected = Expected()
    wanted = f"a {kind}" if kind else "a death"
    try:
        yield expected
    except TaDied as died:
        expected.error = died
    else:
        pytest.fail(f"no TA died; {wanted} was expected")
    error = expected.error
    death = error.death if ta is None else next((death for death in error.deaths if death.ta == ta), None)
    if death is None:
        pytest.fail(f"TA {ta} did not die, but {', '.join(str(death.ta) for death in error.deaths)}: {error}")
    if death.kind == UNKNOWN:
        text = f"TA {death.ta} died; this way to a TEE does not say of what, so {wanted} was not checked"
        warnings.warn(text, DeathUnknownWarning, stacklevel=4)
    elif kind is not None and death.kind != kind:
        pytest.fail(f"the TA {death.reason}, expected {wanted}\n{death.summary}")
