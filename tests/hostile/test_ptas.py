"""Pseudo TAs under clients that send anything: every call ends in a result, and nothing outside a memref is written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from south.platform import PAGE
from tee.abi import pta_uuids, results
from tee.abi.login import Login
from tee.abi.results import Origin
from tee.errors import TeeError
from tee.params import Kind, Memref, Value
from tee.pta.ports import PtaPorts, SignedImage
from tee.world import Client, SecureWorld
from tests.hostile.kit import make_world
from tests.tee.pta_kit import host_platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tee.params import Param

FOR_TAS = {pta_uuids.PTA_SOCKET_UUID, pta_uuids.PTA_SYSTEM_UUID, pta_uuids.PTA_GPROF_UUID}
PTAS = sorted(pta_uuids.STANDARD - FOR_TAS)
"""Those that serve the normal world at all."""
ROOM = 3 * PAGE
SIZES = st.sampled_from([0, 1, 3, 10, 16, 27, 28, 29, 32, 56, 72, 80, 280, 384, 415, 416, 512, PAGE])
WORDS = st.one_of(st.integers(0, 6), st.integers(0, 0xFFFFFFFF))


@st.composite
def parameters(draw: st.DrawFn) -> list[tuple[Kind, int, int, bool]]:
    """(kind, word or offset, word or size, NULL) of up to four."""
    out = []
    for kind in draw(st.lists(st.sampled_from(Kind), max_size=4)):
        if kind in (Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT, Kind.MEMREF_INOUT):
            out.append((kind, draw(st.integers(0, 2 * PAGE)), draw(SIZES), draw(st.booleans()) and draw(st.booleans())))
        else:
            out.append((kind, draw(WORDS), draw(WORDS), False))
    return out


def verify(image: bytes) -> SignedImage:
    if image[:1] != b"\xa5":
        raise TeeError(results.SECURITY)
    return SignedImage(UUID(int=1), 0, image)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureWorld]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tee.pta.selftest.mutex.MOST_ROUNDS", 100)
        patch.setattr("tee.pta.selftest.aes.MOST_UPDATES", 100)
        images = make_world(tmp_path_factory.mktemp("state")).images
        with SecureWorld(host_platform(), images, pta_ports=lambda: PtaPorts(verify=verify)) as made:
            yield made


@pytest.mark.parametrize("uuid", PTAS, ids=str)
@settings(max_examples=150)
@given(command=st.integers(0, 15), params=parameters(), kernel=st.booleans())
def test_any_call(
    world: SecureWorld, uuid: UUID, command: int, params: list[tuple[Kind, int, int, bool]], kernel: bool
) -> None:
    client = Client(Login.REE_KERNEL if kernel else Login.PUBLIC)
    opened = world.open_session(uuid, client=client)
    if opened.result:
        assert (opened.result, opened.origin, kernel) == (results.ACCESS_DENIED, Origin.TRUSTED_APP, False)
        return
    offered: list[Param] = []
    memories = []
    for kind, one, other, null in params:
        if kind is Kind.NONE:
            offered.append(None)
        elif kind in (Kind.VALUE_INPUT, Kind.VALUE_OUTPUT, Kind.VALUE_INOUT):
            offered.append(Value(kind, one, other))
        elif null:
            offered.append(Memref(kind, None, 0))
        else:
            pages = world.platform.pages.shared(ROOM)
            pages.view(0, ROOM)[:] = b"\xa5" * ROOM
            memories.append((pages, kind, one, other))
            offered.append(Memref(kind, pages, other, one))
    outcome = world.invoke(opened.session, command, offered)
    assert 0 <= outcome.result <= 0xFFFFFFFF
    assert outcome.origin is Origin.TRUSTED_APP
    for pages, kind, offset, size in memories:
        before, after = pages.view(0, offset), pages.view(offset + size, ROOM - offset - size)
        assert set(before) | set(after) <= {0xA5}
        if kind is Kind.MEMREF_INPUT:
            assert set(pages.view(offset, size)) <= {0xA5}
    for param in offered:
        if isinstance(param, Value):
            assert 0 <= param.a <= 0xFFFFFFFF
            assert 0 <= param.b <= 0xFFFFFFFF
    world.close_session(opened.session)


def test_a_memref_beyond_its_memory(world: SecureWorld) -> None:
    opened = world.open_session(pta_uuids.PTA_RNG_UUID)
    for offset, size in ((0, PAGE + 1), (PAGE, 1), (1, PAGE), (0, 1 << 40)):
        ref = Memref(Kind.MEMREF_INOUT, world.platform.pages.shared(PAGE), size, offset)
        assert world.invoke(opened.session, 0, [ref]) == (results.BAD_PARAMETERS, Origin.TEE)


def test_self_tests_leak_nothing(world: SecureWorld) -> None:
    opened = world.open_session(pta_uuids.PTA_INVOKE_TESTS_UUID)

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    for command in (2, 8, 11):
        assert world.invoke(opened.session, command).result == results.SUCCESS
    before = descriptors()
    for _ in range(10):
        for command in (2, 8, 11):
            assert world.invoke(opened.session, command).result == results.SUCCESS
    assert descriptors() <= before
