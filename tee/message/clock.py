"""The normal world's wall clock, for TAs that ask for the REE's time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.errors import TeeError

if TYPE_CHECKING:
    from south.platform import Clock
    from tee.message.services import RpcNormalWorld


class GuestClock:
    """`south.platform.Clock`: `host` but for the wall clock, which is the host's only outside of calls."""

    def __init__(self, host: Clock, normal: RpcNormalWorld) -> None:
        self._host = host
        self._normal = normal

    def monotonic(self) -> float:
        return self._host.monotonic()

    def sleep(self, seconds: float) -> None:
        self._host.sleep(seconds)

    def wall(self) -> float:
        try:
            return self._normal.time()
        except TeeError:
            return self._host.wall()
