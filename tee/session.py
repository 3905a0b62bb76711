"""A session: one client's connection to a TA instance or a pseudo TA."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from tee.instance import TaInstance
    from tee.pta.base import PseudoTa

NIL = UUID(int=0)

LOGIN_PUBLIC = 0x00000000  # TEE_LOGIN_*, lib/libutee/include/tee_api_defines.h
LOGIN_TRUSTED_APP = 0xF0000000


class Client(NamedTuple):
    """Who opens a session: login method and the UUID that goes with it (TEE_Identity)."""

    login: int = LOGIN_PUBLIC
    uuid: UUID = NIL


PUBLIC = Client()


class Session:
    """number: the handle its opener uses; reference: what the TA's libutee knows it by.

    owner: the instance that opened it, None: the normal world. Exactly one of instance and pta.
    closed: a call that still waits for the instance is too late.
    """

    __slots__ = ("client", "closed", "context", "instance", "lock", "number", "owner", "pta", "reference")

    def __init__(self, number: int, client: Client, owner: TaInstance | None, reference: int) -> None:
        self.number = number
        self.client = client
        self.owner = owner
        self.reference = reference
        self.closed = False
        self.instance: TaInstance | None = None
        self.pta: PseudoTa | None = None
        self.context: object = None
        self.lock = threading.Lock()
