"""The standard PTAs: what is told of them before they are made, and that nobody pays for those nobody opens."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tee.abi import pta_uuids, results
from tee.abi.results import Origin
from tee.abi.ta_head import TA_FLAG_CONCURRENT, TA_FLAG_DEVICE_ENUM, TA_FLAG_SECURE_DATA_PATH
from tee.params import Kind, Memref
from tee.pta.base import Sessionless
from tee.pta.ports import PtaPorts, SignedImage
from tee.pta.registry import PTA_DEFAULT_FLAGS, Registry, pta_flags
from tee.pta.standard import standard
from tee.world import SecureWorld
from tests.tee.pta_kit import host_platform

if TYPE_CHECKING:
    from tee.pta.base import PseudoTa


def verify(image: bytes) -> SignedImage:
    return SignedImage(UUID(int=1), 0, image)


def world(ports: PtaPorts | None = None) -> SecureWorld:
    return SecureWorld(host_platform(), Images(), pta_ports=None if ports is None else lambda: ports)  # type: ignore[arg-type]


class Images:
    def digest(self, uuid: UUID) -> bytes:
        raise AssertionError


def test_rows_are_what_the_ptas_say_themselves() -> None:
    registry = standard(world(PtaPorts(verify=verify)))
    declared = dict(registry.devices())
    made = list(registry)
    assert {pta.uuid: pta_flags(pta) for pta in made} == declared
    assert set(declared) == pta_uuids.STANDARD - {pta_uuids.PTA_SOCKET_UUID}
    assert [registry.find(pta.uuid) for pta in made] == made


def test_what_a_normal_world_enumerates() -> None:
    """TA_FLAG_DEVICE_ENUM in optee_os core/pta: the test PTA, the clock and the random generator of these."""
    registry = standard(world(PtaPorts(verify=verify)))
    listed = {uuid for uuid, flags in registry.devices() if flags & TA_FLAG_DEVICE_ENUM}
    assert listed == {pta_uuids.PTA_INVOKE_TESTS_UUID, pta_uuids.PTA_RTC_UUID, pta_uuids.PTA_RNG_UUID}
    with world() as one:
        session = one.open_session(pta_uuids.PTA_DEVICE_UUID).session
        pages = one.platform.pages.shared(4096)
        out = Memref(Kind.MEMREF_OUTPUT, pages, 4096)
        assert one.invoke(session, 0, [out]).result == results.SUCCESS
        found = [UUID(bytes=bytes(pages.view(at, 16))) for at in range(0, out.size, 16)]
        assert set(found) == listed
        assert len(found) == 3


def test_flags_of_the_test_pta() -> None:
    flags = dict(standard(world()).devices())[pta_uuids.PTA_INVOKE_TESTS_UUID]
    expected = TA_FLAG_SECURE_DATA_PATH | TA_FLAG_CONCURRENT | TA_FLAG_DEVICE_ENUM
    assert flags == PTA_DEFAULT_FLAGS | expected


def test_without_a_verifier_nothing_installs_tas() -> None:
    with world() as one:
        assert one.find_pta(pta_uuids.PTA_SECSTOR_TA_MGMT_UUID) is None
    with world(PtaPorts(verify=verify)) as one:
        opened = one.open_session(pta_uuids.PTA_SECSTOR_TA_MGMT_UUID)
        assert opened.result == results.SUCCESS
        image = Memref(Kind.MEMREF_INPUT, one.platform.pages.shared(4096), 10)
        outcome = one.invoke(opened.session, 0, [image])
        assert outcome == (results.STORAGE_NOT_AVAILABLE, Origin.TRUSTED_APP)


def hash_tree_test() -> int:
    with world() as one:
        return one.invoke(one.open_session(pta_uuids.PTA_INVOKE_TESTS_UUID).session, 6).result


def test_the_hash_tree_test_finds_a_broken_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hash_tree_test() == results.SUCCESS
    monkeypatch.setattr("tee.storage.htree.compare_digest", lambda a, b: True)
    assert hash_tree_test() == results.GENERIC


class Made(Sessionless):
    uuid = UUID(int=7)

    def invoke(self, session: object, command: int, params: object, caller: object) -> None:
        pass


def test_a_declared_pta_is_made_once_and_late() -> None:
    made: list[Made] = []

    def make() -> PseudoTa:
        made.append(Made())
        return made[-1]

    registry = Registry()
    registry.declare(Made.uuid, PTA_DEFAULT_FLAGS, make)
    assert registry.devices() == [(Made.uuid, PTA_DEFAULT_FLAGS)]
    assert len(registry) == 1
    assert made == []
    assert registry.find(Made.uuid) is registry.find(Made.uuid) is made[0]
    assert len(made) == 1
    with pytest.raises(ValueError, match="already"):
        registry.add(Made())
    with pytest.raises(ValueError, match="flags"):
        registry.declare(UUID(int=8), PTA_DEFAULT_FLAGS | 1, make)


def test_opening_one_imports_no_other() -> None:
    code = """
import sys
from tee.abi.pta_uuids import PTA_SYSTEM_UUID
from tee.world import SecureWorld
from tests.tee.pta_kit import host_platform
before = set(sys.modules)
with SecureWorld(host_platform(), None) as world:
    assert not any(name.startswith("tee.pta.") for name in before), before
    assert world.open_session(PTA_SYSTEM_UUID).session == 0  # for TAs alone
print(*sorted(name for name in set(sys.modules) - before if not name.startswith("tee.abi")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    wanted = "base kinds ports registry standard system system_plugin"
    came = {name for name in done.stdout.split() if name.startswith("tee.pta.")}
    assert came == {f"tee.pta.{name}" for name in wanted.split()}
    assert "cryptography" not in done.stdout
