"""What a TEE in this process is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from normal_world.checks import flag, path, paths, seconds, whole
from north.memory import Layout
from tee.limits import Limits

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

KEY_BYTES = 32
MEMORY_MIN, MEMORY_MAX = 1 << 20, 1 << 32
"""Bytes, as of --memory."""
STORAGE_MAX = 1 << 40
"""Bytes, as of --storage-limit."""


class LocalOptions(NamedTuple):
    """As the options of `litebox-ta serve`.

    ta_dirs: where TAs are found by UUID. trust: PEM files or TA development kits whose signatures are believed.
    enc_key: of encrypted TAs, 32 bytes. state: folder of the device's key and of storage; None: the user's.
    memory: bytes for each TA instance. timeout: seconds until a TA that goes on is stopped. sockets: what TAs may
    connect to. plugin_dirs: of <uuid>.plugin; plugin_seconds: a plugin's time for one call, None: 30.
    storage_limit: bytes of trusted storage of each TA; None: no limit.
    rpmb_integrity: an older copy of trusted storage is refused. address_space: of TAs, "board" or "wide"
    (`north.memory.Layout`). profile_dir: where TAs built for profiling leave their profiles. elf: unstripped files of
    TAs for backtraces; UUID.elf in ta_dirs is found anyway. log: called with what TAs and the secure world print; None:
    standard error.
    """

    ta_dirs: Sequence[str | os.PathLike[str]] = ()
    trust: Sequence[str | os.PathLike[str]] = ()
    allow_unsigned: bool = False
    enc_key: bytes | None = None
    state: str | os.PathLike[str] | None = None
    memory: int = Limits().memory
    timeout: float | None = None
    sockets: str = "off"
    plugin_dirs: Sequence[str | os.PathLike[str]] = ()
    plugin_seconds: float | None = None
    storage_limit: int | None = None
    rpmb_integrity: bool = False
    address_space: str = "board"
    profile_dir: str | os.PathLike[str] | None = None
    elf: Sequence[str | os.PathLike[str]] = ()
    log: Callable[[str], None] | None = None

    def checked(self) -> LocalOptions:
        """With plain strings for paths. TypeError, ValueError for what no TEE can be made of."""
        if self.enc_key is not None:
            if not isinstance(self.enc_key, (bytes, bytearray)):
                raise TypeError(f"enc_key: bytes, not {type(self.enc_key).__name__}")
            if len(self.enc_key) != KEY_BYTES:
                raise ValueError(f"enc_key: {len(self.enc_key)} bytes, a key has {KEY_BYTES}")
        if self.log is not None and not callable(self.log):
            raise TypeError(f"log: a function that is given text, not {type(self.log).__name__}")
        if not isinstance(self.sockets, str):
            raise TypeError(f"sockets: a policy's text, not {type(self.sockets).__name__}")
        spaces = [layout.value for layout in Layout]
        if self.address_space not in spaces:
            raise ValueError(f"address_space: {self.address_space!r} is none of {', '.join(spaces)}")
        if whole(self.memory, "memory", MEMORY_MAX) < MEMORY_MIN:
            raise ValueError(f"memory: {self.memory} bytes; a TA instance needs {MEMORY_MIN} at least")
        if self.storage_limit is not None:
            whole(self.storage_limit, "storage_limit", STORAGE_MAX)
        return self._replace(
            ta_dirs=paths(self.ta_dirs, "ta_dirs"),
            trust=paths(self.trust, "trust"),
            elf=paths(self.elf, "elf"),
            plugin_dirs=paths(self.plugin_dirs, "plugin_dirs"),
            allow_unsigned=flag(self.allow_unsigned, "allow_unsigned"),
            rpmb_integrity=flag(self.rpmb_integrity, "rpmb_integrity"),
            enc_key=None if self.enc_key is None else bytes(self.enc_key),
            state=None if self.state is None else path(self.state, "state"),
            profile_dir=None if self.profile_dir is None else path(self.profile_dir, "profile_dir"),
            timeout=seconds(self.timeout, zero=False),
            plugin_seconds=seconds(self.plugin_seconds, "plugin_seconds", zero=False),
        )
