"""Crypto and hot system calls in C (`tee._native`, on libcrypto), with types.

Two rooms: `Task` is what one TA instance owns in C (its operation states, cancellation flags, log
and the handlers that serve hot system calls without Python); the functions and `PublicKey` below it
are what a TA loader and the storage code need. Buffers are anything that exports contiguous bytes;
they are read in place, never copied. Every length is bytes.

Semantics of operation states: optee_os 4.5 core/tee/tee_svc_cryp.c and core/crypto/.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from tee.abi import results
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]
