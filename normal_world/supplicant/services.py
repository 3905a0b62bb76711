"""What a tee-supplicant does for the secure world, made in this process: a `tee.normal.NormalWorld`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normal_world.supplicant.policy import Policy
from ta_loader.errors import UsageError

if TYPE_CHECKING:
    from tee.normal import Files, Plugins, Rpmb, Sockets


class Supplicant:
    """The services that somebody asked for; the others are None. sockets: a policy as `Policy.parse` takes it.

    UsageError for a policy that cannot be read.
    """

    files: Files | None = None
    rpmb: Rpmb | None = None
    plugins: Plugins | None = None
    sockets: Sockets | None = None

    def __init__(self, *, sockets: str = "off") -> None:
        if sockets == "off":
            return
        from normal_world.supplicant.sockets import HostSockets

        try:
            policy = Policy.parse(sockets)
        except ValueError as problem:
            raise UsageError(f"--sockets {sockets}: {problem}") from None
        self.sockets = HostSockets(policy)
