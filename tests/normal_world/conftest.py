"""One secure world with the sample TA for a module's tests, and a daemon over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from south.linux_host import linux_host
from south.linux_host.host import NullConsole
from ta_loader import samples
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.observe import Observer
from tee.world import SecureWorld
from tests.normal_world.kit import in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from normal_world.daemon.server import Server


@pytest.fixture
def daemon_world(tmp_path: Path) -> Iterator[SecureWorld]:
    store = TaStore([samples.FOLDER], TrustStore([samples.public_key_file()]))
    world = SecureWorld(linux_host(str(tmp_path / "state"), console=NullConsole()), Loader(store), observer=Observer())
    yield world
    world.close()


@pytest.fixture
def daemon(daemon_world: SecureWorld, tmp_path: Path) -> Iterator[tuple[str, Server]]:
    """Socket and server of a daemon in this process."""
    with in_thread(daemon_world, tmp_path, grace=0.3, deadline=2.0) as found:
        yield found
