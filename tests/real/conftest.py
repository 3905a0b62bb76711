"""Fixtures: secure worlds over Debian's TAs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def host(debian_tas: Path, debian_kit: Path, tmp_path: Path) -> Iterator[Host]:
    """A world of its own for one test: the test TAs, the kit's TAs, the kit's key."""
    made = Host(tmp_path / "state", [debian_tas, debian_kit / "ta"], [debian_kit])
    yield made
    made.close()
