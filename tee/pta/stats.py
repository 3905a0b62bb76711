"""Statistics PTA: what the secure world uses, as `xtest --stats` shows it.

Source: optee_os core/pta/stats.c, core/kernel/tee_ta_manager.c (tee_ta_instance_stats).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tee.abi import results
from tee.abi.pta_stats import ALLOC, NB_POOLS, PTA_STATS_UUID, TA, DriverType, Pool, StatsCommand
from tee.abi.time import MILLIS_BASE
from tee.abi.uuids import tee_uuid_bytes
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.base import Sessionless
from tee.pta.kinds import expect, memref, served, value
from tee.pta.registry import PTA_DEFAULT_FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from north.memory import Usage
    from south.platform import Platform
    from tee.instance import TaInstance
    from tee.pta.base import Caller, Params
    from tee.services.time import TaTimes

_MOST = 0xFFFFFFFF


class World(Protocol):
    """What is looked at: `tee.world.SecureWorld`."""

    @property
    def platform(self) -> Platform: ...

    @property
    def times(self) -> TaTimes: ...

    def alive(self) -> list[TaInstance]: ...


class StatsPta(Sessionless):
    uuid = PTA_STATS_UUID
    name = "stats.pta"
    flags = PTA_DEFAULT_FLAGS

    def __init__(self, world: World) -> None:
        self._world = world

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        served(_SERVED, command, "the statistics PTA", results.BAD_PARAMETERS)(self, params)

    def pager(self, params: Params) -> None:
        """There is no pager: all counters are 0, as OP-TEE tells them without one."""
        expect(params, Kind.VALUE_OUTPUT, Kind.VALUE_OUTPUT, Kind.VALUE_OUTPUT)
        for index in range(3):
            counters = value(params, index)
            counters.a = counters.b = 0

    def allocators(self, params: Params) -> None:
        """value[0].a: `Pool`, .b: not 0 to start counting anew; memref[1]: struct pta_stats_alloc, one for each."""
        expect(params, Kind.VALUE_INPUT, Kind.MEMREF_OUTPUT)
        wanted, out = value(params, 0), memref(params, 1)
        if wanted.a > NB_POOLS:
            raise TeeError(results.BAD_PARAMETERS, f"there is no pool {wanted.a}")
        pools = range(Pool.HEAP, NB_POOLS + 1) if wanted.a == Pool.ALL else (wanted.a,)
        if out.size < ALLOC.size * len(pools):
            out.size = ALLOC.size * len(pools)
            raise TeeError(results.SHORT_BUFFER, "not all pools fit")
        out.put(b"".join(self._pool(pool, reset=bool(wanted.b)) for pool in pools))

    def _pool(self, pool: int, *, reset: bool) -> bytes:
        """The core's heap is the Python interpreter's, which keeps no such account: zeros, but for its name."""
        if pool == Pool.TA_RAM:
            spaces = [instance.space for instance in self._world.alive()]
            packed = _alloc("Physical TA memory", [space.usage for space in spaces])
            for space in spaces if reset else ():
                space.reset_usage()
            return packed
        return _alloc("Heap" if pool == Pool.HEAP else "", ())

    def leaks(self, params: Params) -> None:
        """To the console: who holds what. OP-TEE lists its heap there, if it was built to."""
        expect(params)
        for instance in self._world.alive():
            usage = instance.space.usage
            self._world.platform.console.write(
                f"I/TC: TA {instance.uuid} instance {instance.number}: {usage.used} bytes, "
                f"{instance.native.state_count} operation states, {len(instance.sessions)} sessions opened\n"
            )

    def instances(self, params: Params) -> None:
        """memref[0]: struct pta_stats_ta, one for each TA in memory.

        What a TA does with its heap is its own affair (libutee tells, if a TA was built with CFG_TA_STATS); so `heap`
        is all of its private memory, and says so.
        """
        expect(params, Kind.MEMREF_OUTPUT)
        alive = self._world.alive()
        if not alive:
            raise TeeError(results.ITEM_NOT_FOUND, "no TA is in memory")
        memref(params, 0).put(
            b"".join(
                TA.pack(tee_uuid_bytes(instance.uuid), instance.dead is not None, instance.references)
                + _alloc("TA memory", [instance.space.usage])
                for instance in alive
            )
        )

    def time(self, params: Params) -> None:
        """value[0]: REE time; value[1]: system time; seconds and milliseconds."""
        expect(params, Kind.VALUE_OUTPUT, Kind.VALUE_OUTPUT)
        times = self._world.times
        for index, now in enumerate((times.ree(), times.system())):
            out = value(params, index)
            out.a, out.b = divmod(now, MILLIS_BASE)

    def drivers(self, params: Params) -> None:
        """To the console; the host keeps its clocks and regulators to itself."""
        expect(params, Kind.VALUE_INPUT)
        kind = value(params, 0).a
        if kind not in (DriverType.CLOCK, DriverType.REGULATOR):
            raise TeeError(results.BAD_PARAMETERS, f"there is no kind of driver {kind}")
        what = "clock" if kind == DriverType.CLOCK else "regulator"
        self._world.platform.console.write(f"I/TC: platform {self._world.platform.name} has no {what} drivers\n")


_SERVED: dict[int, Callable[[StatsPta, Params], None]] = {
    StatsCommand.PAGER_STATS: StatsPta.pager,
    StatsCommand.ALLOC_STATS: StatsPta.allocators,
    StatsCommand.MEMLEAK_STATS: StatsPta.leaks,
    StatsCommand.TA_STATS: StatsPta.instances,
    StatsCommand.GET_TIME: StatsPta.time,
    StatsCommand.PRINT_DRIVER_INFO: StatsPta.drivers,
}


def _alloc(name: str, usages: Sequence[Usage]) -> bytes:
    """struct pta_stats_alloc over several instances: sums, with the largest request that was refused. Numbers beyond
    32 bits stay at the largest there is."""
    worst = max(usages, key=lambda usage: usage.largest_refused, default=None)
    numbers = (
        sum(usage.used for usage in usages),
        sum(usage.peak for usage in usages),
        sum(usage.limit for usage in usages),
        sum(usage.refused for usage in usages),
        worst.largest_refused if worst else 0,
        worst.used_then if worst else 0,
    )
    return ALLOC.pack(name.encode(), *(min(number, _MOST) for number in numbers))
