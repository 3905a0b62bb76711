"""System calls 15-40 and 54: cryptography.

Source: optee_os lib/libutee/include/utee_syscalls.h (arguments), tee_syscall_numbers.h (numbers),
core/tee/tee_svc_cryp.c (meaning). `native` names the C handler (tee/csrc) that answers first;
the one in `tee.services` then sees only what C leaves: what it has no state for, and memory that is not one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from north.syscalls.declare import Cell, Handle, In, InPieces, Pointer, Syscall, Value
from tee.syscalls.arguments import Attributes, ChunkPieces, Into, Out, OutFixed

if TYPE_CHECKING:
    from north.syscalls.declare import Argument

_SOURCE = "core/tee/tee_svc_cryp.c"


def _row(number: int, name: str, *args: Argument, native: str = "", reason: str = "") -> Syscall:
    return Syscall(number, name, args, f"crypto.{name}", _SOURCE, native=native, reason=reason)


ROWS: tuple[Syscall, ...] = (
    _row(
        15,
        "cryp_state_alloc",
        Value("algo"),
        Value("op_mode"),
        Handle("key1"),
        Handle("key2"),
        Cell("state"),
    ),
    _row(16, "cryp_state_copy", Handle("dst"), Handle("src")),
    _row(17, "cryp_state_free", Handle("state")),
    _row(18, "hash_init", Handle("state"), Pointer("iv"), Value("iv_len")),
    _row(19, "hash_update", Handle("state"), ChunkPieces("chunk"), native="call_hash_update"),
    _row(20, "hash_final", Handle("state"), ChunkPieces("chunk"), Into("hash"), native="tee_call_hash_final"),
    _row(21, "cipher_init", Handle("state"), In("iv")),
    _row(22, "cipher_update", Handle("state"), InPieces("src"), Into("dest", null=True), native="call_cipher_update"),
    _row(23, "cipher_final", Handle("state"), InPieces("src"), Into("dest", null=True), native="call_cipher_final"),
    _row(24, "cryp_obj_get_info", Handle("obj"), Pointer("info"), native="tee_call_obj_get_info"),
    _row(25, "cryp_obj_restrict_usage", Handle("obj"), Value("usage")),
    _row(26, "cryp_obj_get_attr", Handle("obj"), Value("attr_id"), Out("buffer"), native="tee_call_obj_get_attr"),
    _row(27, "cryp_obj_alloc", Value("type"), Value("max_size"), Cell("obj")),
    _row(28, "cryp_obj_close", Handle("obj")),
    _row(29, "cryp_obj_reset", Handle("obj"), native="tee_call_obj_reset"),
    _row(30, "cryp_obj_populate", Handle("obj"), Attributes("attrs")),
    _row(31, "cryp_obj_copy", Handle("dst_obj"), Handle("src_obj")),
    _row(
        32,
        "cryp_derive_key",
        Handle("state"),
        Attributes("params"),
        Handle("derived_key"),
        native="tee_call_derive_key",
    ),
    _row(33, "cryp_random_number_generate", OutFixed("buf"), native="call_random"),
    _row(
        34,
        "authenc_init",
        Handle("state"),
        In("nonce"),
        Value("tag_len"),
        Value("aad_len"),
        Value("payload_len"),
    ),
    _row(35, "authenc_update_aad", Handle("state"), InPieces("aad_data"), native="call_ae_aad"),
    _row(
        36, "authenc_update_payload", Handle("state"), InPieces("src_data"), Into("dest_data"), native="call_ae_update"
    ),
    _row(
        37,
        "authenc_enc_final",
        Handle("state"),
        InPieces("src_data"),
        Into("dest_data", null=True),
        Into("tag"),
        native="tee_call_ae_enc_final",
    ),
    _row(
        38,
        "authenc_dec_final",
        Handle("state"),
        InPieces("src_data"),
        Into("dest_data", null=True),
        In("tag"),
    ),
    _row(
        39,
        "asymm_operate",
        Handle("state"),
        Attributes("params"),
        In("src_data"),
        Into("dest_data"),
        native="tee_call_asymm_operate",
    ),
    _row(
        40,
        "asymm_verify",
        Handle("state"),
        Attributes("params"),
        In("data"),
        In("sig"),
        native="tee_call_asymm_verify",
    ),
    _row(
        54,
        "cryp_obj_generate_key",
        Handle("obj"),
        Value("key_size"),
        Attributes("params"),
    ),
)
"""The crypto part of the table, by number."""
