"""The normal world: everything a client of a trusted application touches.

For Python programs it is the TEE Client API itself:

    from normal_world import Context, Memref, Value

    with Context(ta_dirs=["out"], trust=["key.pem"]) as tee, tee.open_session(uuid) as session:
        (count,) = session.invoke(0, Value.inout(41))

Its packages: `client/`, the ways to a TEE; `libteec/`, a drop-in library for C programs; `daemon/`, which serves
both over a Unix socket (`protocol.py`); `supplicant/`, services that the secure world calls back for;
`plugin_host/`, processes for its C plugins; `run_with/`, programs that find our libteec. `host/` puts a
platform, a store of TAs, the secure world and a supplicant together for one process. `pytest_plugin.py` offers
fixtures for tests of TAs, which `testing.py` makes.

It may import `ta_loader`, `tee`, `north` and `south`, and only `boards` and the commands import it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normal_world.api import Context, Login, Session
    from normal_world.cancelling import Operation
    from normal_world.died import TaDied
    from normal_world.memory import Direction, SharedMemory
    from normal_world.params import Memref, Value
    from tee.abi.results import Origin, Result
    from tee.errors import TeeError

_HOMES = {
    "Context": "normal_world.api",
    "Direction": "normal_world.memory",
    "Login": "normal_world.api",
    "Memref": "normal_world.params",
    "Operation": "normal_world.cancelling",
    "Origin": "tee.abi.results",
    "Result": "tee.abi.results",
    "Session": "normal_world.api",
    "SharedMemory": "normal_world.memory",
    "TaDied": "normal_world.died",
    "TeeError": "tee.errors",
    "Value": "normal_world.params",
}

__all__ = [
    "Context",
    "Direction",
    "Login",
    "Memref",
    "Operation",
    "Origin",
    "Result",
    "Session",
    "SharedMemory",
    "TaDied",
    "TeeError",
    "Value",
]


def __getattr__(name: str) -> Any:
    """Imported at first use: subcommands that talk to no TA shall not wait for it."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
