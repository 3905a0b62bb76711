"""System PTA: what libutee and libdl ask the core for beyond system calls.

Source: optee_os core/pta/system.c; error codes of mapping are core/mm/vm.c's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from south.platform import PAGE
from tee.abi import results
from tee.abi.pta_system import (
    BOUNCE_BUFFER_SIZE,
    MAP_FLAG_SHAREABLE,
    PTA_SYSTEM_UUID,
    TA_DERIVED_EXTRA_DATA_MAX_SIZE,
    TA_DERIVED_KEY_MAX_SIZE,
    TA_DERIVED_KEY_MIN_SIZE,
    SystemCommand,
)
from tee.abi.ta_head import TA_FLAG_CONCURRENT
from tee.crypto.huk import ta_unique_key
from tee.errors import TeeError
from tee.params import Kind
from tee.pta.base import Sessionless
from tee.pta.kinds import buffer, expect, memref, pair, served, set_pair, tee_uuid, value
from tee.pta.registry import PTA_DEFAULT_FLAGS
from tee.pta.system_plugin import invoke_plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from south.platform import RootOfTrust
    from tee.normal import NormalWorld
    from tee.pta.base import Caller, Params


class SystemPta(Sessionless):
    """root: what TAs' unique keys derive from.

    reseed: takes entropy a TA offers. It is somebody's say-so, so it must only ever be mixed into a
    generator, credited as nothing; by default into libcrypto's.

    normal: whose supplicant has the plugins.
    """

    uuid = PTA_SYSTEM_UUID
    name = "system.pta"
    flags = PTA_DEFAULT_FLAGS | TA_FLAG_CONCURRENT

    def __init__(
        self,
        root: RootOfTrust,
        reseed: Callable[[bytes], None] | None = None,
        normal: NormalWorld | None = None,
    ) -> None:
        self._root = root
        self._normal = normal
        self._reseed = reseed or _mix_into_libcrypto
        self._commands: dict[int, Callable[[Caller, Params], None]] = {
            SystemCommand.ADD_RNG_ENTROPY: self._add_rng_entropy,
            SystemCommand.DERIVE_TA_UNIQUE_KEY: self._derive_ta_unique_key,
            SystemCommand.MAP_ZI: _map_zi,
            SystemCommand.UNMAP: _unmap,
            SystemCommand.DLOPEN: _dlopen,
            SystemCommand.DLSYM: _dlsym,
            SystemCommand.GET_TPM_EVENT_LOG: _get_tpm_event_log,
            SystemCommand.SUPP_PLUGIN_INVOKE: self._supp_plugin_invoke,
        }

    def open(self, caller: Caller | None, params: Params) -> object:
        _only_for_tas(caller)
        return None

    def invoke(self, session: object, command: int, params: Params, caller: Caller | None) -> None:
        ta = _only_for_tas(caller)
        served(self._commands, command, "the system PTA", results.NOT_IMPLEMENTED)(ta, params)

    def _add_rng_entropy(self, caller: Caller, params: Params) -> None:
        expect(params, Kind.MEMREF_INPUT)
        entropy = buffer(params, 0)
        if entropy.size > BOUNCE_BUFFER_SIZE:
            raise TeeError(results.OUT_OF_MEMORY, f"more than {BOUNCE_BUFFER_SIZE} bytes of entropy at once")
        self._reseed(entropy.read())

    def _supp_plugin_invoke(self, caller: Caller, params: Params) -> None:
        invoke_plugin(self._normal, caller, params)

    def _derive_ta_unique_key(self, caller: Caller, params: Params) -> None:
        expect(params, Kind.MEMREF_INPUT, Kind.MEMREF_OUTPUT)
        extra, key = memref(params, 0), memref(params, 1)
        if extra.size > TA_DERIVED_EXTRA_DATA_MAX_SIZE:
            raise TeeError(results.BAD_PARAMETERS, "too much extra data")
        if not TA_DERIVED_KEY_MIN_SIZE <= key.size <= TA_DERIVED_KEY_MAX_SIZE:
            raise TeeError(results.BAD_PARAMETERS, "a derived key has 16 to 32 bytes")
        # A key in memory that the normal world sees would be no secret.
        if key.null or not key.secure:
            raise TeeError(results.SECURITY, "the derived key would leave the secure world")
        # Copied once: the TA may share the input with somebody who changes it.
        data = extra.read() if extra.size and not extra.null else b""
        key.put(ta_unique_key(self._root, caller.uuid, data[:TA_DERIVED_EXTRA_DATA_MAX_SIZE], key.size))


def _only_for_tas(caller: Caller | None) -> Caller:
    if caller is None:
        raise TeeError(results.ACCESS_DENIED, "the system PTA serves TAs alone")
    return caller


def _mix_into_libcrypto(entropy: bytes) -> None:
    import ssl  # late: costs 20 ms, and hardly any TA does this

    ssl.RAND_add(entropy, 0.0)


def _map_zi(caller: Caller, params: Params) -> None:
    expect(params, Kind.VALUE_INPUT, Kind.VALUE_INOUT, Kind.VALUE_INPUT)
    size, flags = value(params, 0).a, value(params, 0).b
    address, padding = value(params, 1), value(params, 2)
    if flags & ~MAP_FLAG_SHAREABLE:
        raise TeeError(results.BAD_PARAMETERS, f"map flags {flags:#x}")
    if not size:
        raise TeeError(results.OUT_OF_MEMORY, "a mapping of no bytes")
    if (pair(address) | padding.a | padding.b) % PAGE:
        raise TeeError(results.ACCESS_CONFLICT, "address and padding must be whole pages")
    set_pair(address, caller.map_zeroed(size, padding.a, padding.b, pair(address), flags))


def _unmap(caller: Caller, params: Params) -> None:
    expect(params, Kind.VALUE_INPUT, Kind.VALUE_INPUT)
    size, reserved = value(params, 0).a, value(params, 0).b
    va = pair(value(params, 1))
    if reserved:
        raise TeeError(results.BAD_PARAMETERS, "value[0].b must be 0")
    # The core rounds up in 32 bits, where the last page wraps to nothing.
    length = (size + PAGE - 1 & -PAGE) & 0xFFFFFFFF
    if not length or va % PAGE or va + length >= 1 << 64:
        raise TeeError(results.BAD_PARAMETERS, "the range must be whole pages, and some")
    caller.unmap(va, length)


def _dlopen(caller: Caller, params: Params) -> None:
    expect(params, Kind.MEMREF_INPUT, Kind.VALUE_INPUT)
    caller.dlopen(tee_uuid(params, 0), value(params, 1).a)


def _dlsym(caller: Caller, params: Params) -> None:
    expect(params, Kind.MEMREF_INPUT, Kind.MEMREF_INPUT, Kind.VALUE_OUTPUT)
    library = tee_uuid(params, 0)
    text = buffer(params, 1)
    raw = text.read().partition(b"\0")[0]
    if len(raw) >= BOUNCE_BUFFER_SIZE:
        raise TeeError(results.OUT_OF_MEMORY, "the symbol's name is too long")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise TeeError(results.ITEM_NOT_FOUND, "a symbol's name is text") from None
    set_pair(value(params, 2), caller.dlsym(library, name))


def _get_tpm_event_log(caller: Caller, params: Params) -> None:
    expect(params, Kind.MEMREF_OUTPUT)
    raise TeeError(results.NOT_SUPPORTED, "this platform keeps no TPM event log")
