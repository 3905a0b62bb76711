"""What a client asks for while a call of the host's fails: an outcome each time, never an exception of the host's."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from normal_world.host.compose import Host
from normal_world.host.setup import Setup
from tee.abi import results
from tee.abi.pta_uuids import PTA_ATTESTATION_UUID
from tee.params import Kind, Memref, Value
from tee.pta.attestation_key import AttestationKey
from tests.fakes import Lines
from tests.host_faults import ERRORS, Faults

if TYPE_CHECKING:
    from pathlib import Path

    from south.platform import Pages
    from tee.world import Opened, Outcome

GET_PUBKEY, INCREMENT = 0, 0
DEFINED = {
    results.SUCCESS,
    results.STORAGE_NO_SPACE,
    results.STORAGE_NOT_AVAILABLE,
    results.OUT_OF_MEMORY,
    results.ITEM_NOT_FOUND,
    results.SECURITY,
    results.GENERIC,
    results.CORRUPT_OBJECT,
}


def public_key(host: Host, pages: Pages) -> tuple[Opened, Outcome]:
    """The attestation PTA makes its key, and keeps it in trusted storage."""
    opened = host.world.open_session(PTA_ATTESTATION_UUID)
    params: list[Value | Memref | None] = [
        Memref(Kind.MEMREF_OUTPUT, pages, 1024),
        Memref(Kind.MEMREF_OUTPUT, pages, 1024, 2048),
        Value(Kind.VALUE_OUTPUT),
    ]
    return opened, host.world.invoke(opened.session, GET_PUBKEY, params)


def run(folder: Path, faults: Faults, at: int, number: int) -> bool:
    with Host(Setup(state=str(folder)), console=Lines(), interruptible=False) as host:
        uuid = host.resolve("hello")
        pages = host.platform.pages.shared(4096)
        faults.arm(at, number)
        first = host.world.open_session(uuid)
        opened, told = public_key(host, pages)
        second = host.world.open_session(uuid)
        faults.disarm()
        where = f"call {at} ({faults.fired}) with {errno.errorcode[number]}: {first} {opened} {told} {second}"
        for outcome in (first, opened, told, second):
            assert outcome.result in (*DEFINED, results.BAD_PARAMETERS), where
        assert not host.world.bugs, where
        assert not public_key(host, pages)[1].result, where
        again = host.world.open_session(uuid)
        value = Value(Kind.VALUE_INOUT, 1)
        assert not host.world.invoke(again.session, INCREMENT, [value]).result, where
        assert value.a == 2
    return bool(faults.fired)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.fuzz)])
@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_opening_and_pseudo_tas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: int) -> None:
    key = AttestationKey.generate()  # which takes seconds
    monkeypatch.setattr(AttestationKey, "generate", lambda: key)
    faults = Faults(monkeypatch)
    at = 0
    while run(tmp_path / str(at), faults, at, number):
        at += step
    assert at > 30
