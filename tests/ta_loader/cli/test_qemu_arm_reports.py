"""What the secure world of a guest in QEMU reports by itself: why a TA was refused, and how one died."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from normal_world.host.setup import Setup
from normal_world.supplicant.services import ServiceOptions, Supplicant
from south.platform import Arch
from ta_loader import samples
from ta_loader.cli.qemu_arm import Worlds
from tee.abi import results

if TYPE_CHECKING:
    from uuid import UUID

HELLO = samples.HELLO[Arch.AARCH64]


class Console:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def load_ta(uuid: UUID) -> bytes | None:
    """The guest's supplicant, which has the sample."""
    return Path(samples.hello_file()).read_bytes() if uuid == HELLO else None


def test_a_guests_log_says_why(tmp_path: Path) -> None:
    guest: Any = Supplicant(ServiceOptions(state=str(tmp_path)))  # its services, and the guest's TA
    guest.load_ta, guest.profiles = load_ta, None
    console = Console()
    world = Worlds(Setup(state=str(tmp_path)), console).make(guest)
    for _ in range(2):
        assert world.open_session(HELLO).result == results.SECURITY
    assert console.text.count(f"litebox: TA {HELLO}: ") == 1
    assert "key" in console.text or "sign" in console.text

    console = Console()
    world = Worlds(Setup(state=str(tmp_path), trust=(samples.public_key_file(),)), console).make(guest)
    opened = world.open_session(HELLO)
    assert opened.result == results.SUCCESS
    assert world.invoke(opened.session, 2).result == results.TARGET_DEAD
    assert f"TA {HELLO} panicked with code" in console.text
    assert "backtrace:" in console.text
    assert "litebox: TA" not in console.text
