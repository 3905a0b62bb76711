"""The system-call table: complete, in agreement with OP-TEE's own headers, and documented."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tee import services
from tee.abi import results
from tee.crypto import task
from tee.crypto.task import Task
from tee.syscalls import storage, table
from tee.syscalls.table import DEPRECATED, SVC_MAX_ARGS, TABLE, UNKNOWN
from tools import syscalls_doc

if TYPE_CHECKING:
    from pathlib import Path

# What libutee's stubs announce: optee_os lib/libutee/include/utee_syscalls_asm.S.
ARGUMENTS = {
    "return": 1, "log": 2, "panic": 1, "get_property": 7, "get_property_name_to_index": 4, "open_ta_session": 5,
    "close_ta_session": 1, "invoke_ta_command": 5, "check_access_rights": 3, "get_cancellation_flag": 1,
    "unmask_cancellation": 1, "mask_cancellation": 1, "wait": 1, "get_time": 2, "set_ta_time": 1,
    "cryp_state_alloc": 5, "cryp_state_copy": 2, "cryp_state_free": 1, "hash_init": 3, "hash_update": 3,
    "hash_final": 5, "cipher_init": 3, "cipher_update": 5, "cipher_final": 5, "cryp_obj_get_info": 2,
    "cryp_obj_restrict_usage": 2, "cryp_obj_get_attr": 4, "cryp_obj_alloc": 3, "cryp_obj_close": 1,
    "cryp_obj_reset": 1, "cryp_obj_populate": 3, "cryp_obj_copy": 2, "cryp_derive_key": 4,
    "cryp_random_number_generate": 2, "authenc_init": 6, "authenc_update_aad": 3, "authenc_update_payload": 5,
    "authenc_enc_final": 7, "authenc_dec_final": 7, "asymm_operate": 7, "asymm_verify": 7, "storage_obj_open": 5,
    "storage_obj_create": 8, "storage_obj_del": 1, "storage_obj_rename": 3, "storage_alloc_enum": 1,
    "storage_free_enum": 1, "storage_reset_enum": 1, "storage_start_enum": 2, "storage_next_enum": 4,
    "storage_obj_read": 4, "storage_obj_write": 3, "storage_obj_trunc": 2, "storage_obj_seek": 3,
    "cryp_obj_generate_key": 4, "cache_operation": 3,
}  # fmt: skip


def test_it_holds_all_live_calls_in_order() -> None:
    assert list(TABLE) == [*range(55), 70]
    assert all(row.number == number for number, row in TABLE.items())


def test_names_and_argument_words_are_libutees() -> None:
    have = {row.name: sum(arg.registers for arg in row.args) for row in TABLE.values()}
    assert have == ARGUMENTS
    assert max(have.values()) <= SVC_MAX_ARGS


def test_argument_names_are_distinct() -> None:
    for row in TABLE.values():
        names = [arg.name for arg in row.args]
        assert len(set(names)) == len(names), row.name


def test_every_call_is_answered_or_says_why_not() -> None:
    for row in TABLE.values():
        assert row.source.startswith("core/")
        if not row.handler and not row.native:
            assert row.reason
            assert row.unserved != results.SUCCESS


def test_every_handler_that_is_named_exists() -> None:
    for row in TABLE.values():
        if row.handler and not row.handler.startswith("instance."):
            assert callable(services.find(row.handler))


def test_c_looks_at_the_arguments_the_table_declares() -> None:
    words = {number: sum(arg.registers for arg in TABLE[number].args) for number in Task.handlers()}
    assert {number: args for number, _, args in task._HANDLERS} == words


def test_c_answers_what_the_table_says() -> None:
    assert {number for number, row in TABLE.items() if row.native} == set(Task.handlers())


def test_other_numbers() -> None:
    assert UNKNOWN == results.NOT_SUPPORTED
    assert not set(DEPRECATED) & set(TABLE)


def test_a_number_has_one_row() -> None:
    with pytest.raises(ValueError, match="41"):
        table._merge(storage.ROWS, [storage.ROWS[0]._replace(name="again")])


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    assert syscalls_doc.main(["--check"]) == 0, "run python -m tools.syscalls_doc"
    page = tmp_path / "page.md"
    assert syscalls_doc.main(["--check", str(page)]) == 1
    assert syscalls_doc.main([str(page)]) == 0
    assert page.read_text(encoding="utf-8").count("\n| ") == len(TABLE) + 1


# --- the headers that Debian ships for TA developers ---


def test_numbers_are_those_of_the_kit(debian_kit: Path) -> None:
    text = (debian_kit / "include" / "tee_syscall_numbers.h").read_text()
    numbers = {int(n): name for name, n in re.findall(r"#define TEE_SCN_(\w+)\s+(\d+)\n", text)}
    highest, most = numbers[table.SCN_MAX], re.search(r"TEE_SVC_MAX_ARGS\s+(\d+)", text)
    assert "CACHE_OPERATION" in text
    assert highest in ("CACHE_OPERATION", "MAX")
    assert most
    assert int(most[1]) == SVC_MAX_ARGS
    live = {n for n, name in numbers.items() if "DEPRECATED" not in name}
    assert live == set(TABLE)
    assert {n for n, name in numbers.items() if "DEPRECATED" in name} == set(DEPRECATED)
    renamed = {"storage_alloc_enum": "storage_enum_alloc", "storage_free_enum": "storage_enum_free",
               "storage_reset_enum": "storage_enum_reset", "storage_start_enum": "storage_enum_start",
               "storage_next_enum": "storage_enum_next"}  # fmt: skip
    for number in live - {table.SCN_MAX}:
        name = TABLE[number].name
        assert renamed.get(name, name) == numbers[number].lower()


def test_prototypes_are_those_of_the_kit(debian_kit: Path) -> None:
    text = (debian_kit / "include" / "utee_syscalls.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    prototypes = dict(re.findall(r"_utee_(\w+)\(([^)]*)\)", text))
    prototypes.pop("gprof_send")  # declared, but no such call exists
    assert {row.name for row in TABLE.values()} == set(prototypes)
    for row in TABLE.values():
        words = [part for part in prototypes[row.name].split(",") if part.strip() != "void"]
        assert sum(arg.registers for arg in row.args) == len(words), row.name
