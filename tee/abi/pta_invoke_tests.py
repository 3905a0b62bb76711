"""Commands of OP-TEE's own test PTA. Source: optee_os 4.5 lib/libutee/include/pta_invoke_tests.h."""

from __future__ import annotations

import enum

from tee.abi.pta_uuids import PTA_INVOKE_TESTS_UUID as PTA_INVOKE_TESTS_UUID


class InvokeTestsCommand(enum.IntEnum):
    """PTA_INVOKE_TESTS_CMD_*; those that test OP-TEE's own innards are not here."""

    TRACE = 0
    PARAMS = 1
    MEMREF_NULL = 10
