"""Finals served in C: the same bytes and sizes as Python's answers, which tracing of a refusal shows to be asked."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader.machines import TA_ARCHES
from tee.abi import results
from tee.params import Kind, Memref
from tests.tee.test_world import HASH, Kit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("arch", TA_ARCHES)
@pytest.mark.parametrize(("room", "native"), [(31, False), (32, True), (100, True)])
def test_hash_final(tmp_path: Path, arch: Arch, room: int, native: bool) -> None:
    kit = Kit(tmp_path, arch, tracing=True)
    session = kit.open()
    page = kit.platform.pages.shared(4096)
    page.view(0, 3)[:] = b"abc"
    out = Memref(Kind.MEMREF_OUTPUT, page, room, 1000)
    outcome = kit.world.invoke(session, HASH, [Memref(Kind.MEMREF_INPUT, page, 3), out])
    served = {record.call.name: record.native for record in kit.watcher.calls if record.call}
    assert out.size == 32
    if native:
        assert not outcome.result
        assert served["hash_final"]
        assert bytes(page.view(1000, 33)) == hashlib.sha256(b"abc").digest() + b"\0"
    else:
        assert outcome.result == results.SHORT_BUFFER
        assert not any(page.view(1000, 33))
        assert not served.get("hash_final", False)
    kit.world.close()
