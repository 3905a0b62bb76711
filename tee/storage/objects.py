"""What a TA's handle of a persistent object stands for.

Source: optee_os 4.5 core/tee/tee_svc_storage.c (tee_svc_storage_read_head, tee_svc_storage_init_file,
tee_svc_storage_write_usage).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi import results
from tee.abi.objects import UTEE_OBJECT_INFO, HandleFlag, ObjectType
from tee.abi.storage import HEAD, DataFlag
from tee.costs import STORED, WHOLE
from tee.errors import TeeError
from tee.objects import Object
from tee.storage.files import Joined
from tee.storage.head import Head

if TYPE_CHECKING:
    from tee.objects import ObjectTable
    from tee.storage.files import Octets, StoredFile
    from tee.storage.pobj import Pobj, PobjTable

USAGE_OFFSET = 12
"""Of objectUsage in `HEAD`."""


class PersistentObject(Object):
    """data_start: where the data stream begins in the object's file. Closing it releases the object."""

    __slots__ = ("_pobjs", "data_start", "pobj")

    def __init__(self, pobjs: PobjTable, pobj: Pobj, flags: int, type_: int, max_bits: int) -> None:
        super().__init__(type_, max_bits)
        self._pobjs = pobjs
        self.pobj = pobj
        self.flags = HandleFlag(HandleFlag.PERSISTENT | HandleFlag.INITIALIZED | flags)
        self.data_start = 0

    @classmethod
    def stored(cls, pobjs: PobjTable, pobj: Pobj, flags: int) -> PersistentObject:
        """As the object's file says. ITEM_NOT_FOUND, CORRUPT_OBJECT: `pobj` stays the caller's to release."""
        file = pobj.open_file()
        head = Head.read(file)
        attributes = head.attributes(file)
        found = cls(pobjs, pobj, flags, head.type, head.max_bits)
        found.data_start = head.data_start
        found.from_binary(attributes)
        found.bits = head.bits
        found.have = head.have
        pobj.usage = head.usage
        return found

    @classmethod
    def made(cls, pobjs: PobjTable, pobj: Pobj, flags: int, attributes: Object | None) -> PersistentObject:
        """A new one with the type and attributes of another, or a data object."""
        if attributes is None:
            return cls(pobjs, pobj, flags, ObjectType.DATA, 0)
        made = cls(pobjs, pobj, flags, attributes.type, attributes.max_bits)
        made.copy_attributes(attributes)
        made.have = attributes.have
        made.bits = attributes.bits
        made._usage = attributes.usage
        return made

    def write_new(self, data: Octets, *, overwrite: bool) -> None:
        """Make the file. TeeError as of `FileSystem.create`."""
        attributes = self.to_binary()
        head = HEAD.pack(len(attributes), self.bits, self.max_bits, self._usage, self.type, self.have)
        whole = Joined(head + attributes, data)
        file = self.pobj.system.create(self.pobj.key, whole[:] if len(whole) <= WHOLE else whole, overwrite=overwrite)
        self.pobj.replace_file(file)
        self.pobj.usage = self._usage
        self.data_start = HEAD.size + len(attributes)

    def require(self, flag: DataFlag, otherwise: results.Result = results.ACCESS_CONFLICT) -> None:
        """`otherwise` unless the handle has that right."""
        if not self.flags & flag:
            raise TeeError(otherwise, f"the object was not opened with {flag.name}")

    @property
    def file(self) -> StoredFile:
        return self.pobj.open_file()

    @property
    def stream_size(self) -> int:
        """Bytes of the data stream."""
        return max(0, self.file.length - self.data_start)

    # --- Object

    @property
    def cost(self) -> int:
        return super().cost + STORED

    @property
    def usage(self) -> int:
        return self.pobj.usage

    def restrict(self, usage: int) -> None:
        """In the file, too."""
        with self.pobj.lock:
            kept = self.pobj.usage & usage
            if self.pobj.file is not None:
                self.pobj.file.write(USAGE_OFFSET, kept.to_bytes(4, "little"))
            self.pobj.usage = kept

    def info(self) -> bytes:
        return UTEE_OBJECT_INFO.pack(
            self.type, self.bits, self.max_bits, self.usage, self.stream_size, self.data_position, self.flags
        )

    def close(self) -> None:
        super().close()
        self._pobjs.release(self.pobj)


def persistent(objects: ObjectTable, handle: int) -> PersistentObject:
    """BAD_STATE: no object, or a transient one."""
    found = objects.get(handle)
    if not isinstance(found, PersistentObject):
        raise TeeError(results.BAD_STATE, f"object {handle:#x} is not persistent")
    return found
