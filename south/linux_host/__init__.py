"""The Linux host: as a platform (memfd memory, clocks, CSPRNG, a key file as root of trust), and its other facts.

What a process can give up or be handed on Linux has one implementation here, and who wants it says how much:
`seccomp`, `landlock`, `privileges`; `systemd`; `child`, a process that goes when we go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.linux_host.host import HostClock, HostEntropy, StderrConsole
from south.linux_host.root_of_trust import FileRootOfTrust
from south.linux_host.state import StateFolder
from south.platform import Console, Platform

if TYPE_CHECKING:
    from south.platform import Clock, Entropy

__all__ = ["linux_host"]


def linux_host(
    state: str | None = None,
    *,
    console: Console | None = None,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
) -> Platform:
    """This host as a `Platform`.

    state: folder for what must last (the hardware unique key); None: the user's XDG state folder.
    The folder is made when the first thing is stored in it.
    """
    # Here, so that who wants one fact of the host loads no engine.
    from south.engine.unicorn import UnicornEngine
    from south.linux_host.memory import HostPages

    source = entropy or HostEntropy()
    return Platform(
        name="linux-host",
        engine=UnicornEngine(),
        pages=HostPages(),
        clock=clock or HostClock(),
        entropy=source,
        root_of_trust=FileRootOfTrust(StateFolder(state), source),
        console=console or StderrConsole(),
    )
