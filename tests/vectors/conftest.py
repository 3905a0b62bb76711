"""The TAs that vectors run through, and how many vectors a run takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from south.linux_host import linux_host
from south.platform import Arch
from ta_loader import samples
from ta_loader.machines import TA_ARCHES
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.world import SecureWorld
from tests.tas import cryptdrv
from tests.vectors.cryptdrv import CryptDrv
from tests.vectors.gp_crypt import CRYPT, GpCrypt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.vectors.driver import Ta

TAS = ["cryptdrv-aarch64", "cryptdrv-arm", pytest.param("crypt", marks=pytest.mark.real)]


@pytest.fixture(scope="session", params=TAS)
def ta(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ta]:
    """Our driver TA of both architectures, which share the largest files, and OP-TEE's own crypt TA."""
    crypt = request.param == "crypt"
    folder: Path = request.getfixturevalue("debian_tas") if crypt else cryptdrv.HERE
    trusted: Path = request.getfixturevalue("debian_kit") if crypt else samples.public_key()
    loader = Loader(TaStore([str(folder)], TrustStore([str(trusted)])))
    with SecureWorld(linux_host(str(tmp_path_factory.mktemp("state"))), loader) as world:
        if crypt:
            yield GpCrypt(world, CRYPT, slice(0, None, 3))
        else:
            arch = Arch(request.param.removeprefix("cryptdrv-"))
            yield CryptDrv(world, cryptdrv.UUIDS[arch], slice(TA_ARCHES.index(arch), None, len(TA_ARCHES)))


@pytest.fixture(
    scope="session", params=[False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.real])], ids=["some", "all"]
)
def everything(request: pytest.FixtureRequest) -> bool:
    """Whether to take every vector, or a sample."""
    return bool(request.param)
