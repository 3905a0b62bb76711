"""What the handlers of system calls see of the TA that called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from north.syscalls.declare import UserMemory
    from south.platform import Platform
    from tee.crypto.task import Task
    from tee.objects import ObjectTable
    from tee.services.properties import Implementation
    from tee.storage.store import EnumeratorTable, TrustedStorage


class Identity(Protocol):
    """Who opened the session. login: TEE_LOGIN_*."""

    @property
    def login(self) -> int: ...

    @property
    def uuid(self) -> UUID: ...


class CryptoTask(Protocol):
    """What cryptography needs of the TA that called."""

    @property
    def memory(self) -> UserMemory: ...

    @property
    def native(self) -> Task: ...

    @property
    def objects(self) -> ObjectTable: ...

    @property
    def platform(self) -> Platform: ...

    def go_on(self) -> None:
        """What C computed for the call was told to stop: returns if the TA may go on all the same.

        TeeError(CANCEL): it may not, and never sees that result.
        """


class PropertyTask(Protocol):
    """What properties need of the TA that called."""

    @property
    def uuid(self) -> UUID:
        """The TA's own."""

    @property
    def client(self) -> Identity: ...

    @property
    def memory(self) -> UserMemory: ...

    @property
    def platform(self) -> Platform: ...

    @property
    def implementation(self) -> Implementation: ...


class StorageTask(CryptoTask, Protocol):
    """What trusted storage needs of the TA that called."""

    @property
    def uuid(self) -> UUID:
        """The TA's own."""

    @property
    def flags(self) -> int:
        """TA_FLAG_*."""

    @property
    def storage(self) -> TrustedStorage: ...

    @property
    def enumerators(self) -> EnumeratorTable: ...


class TaskContext(PropertyTask, StorageTask, Protocol):
    """All: one TA instance, in one call."""
