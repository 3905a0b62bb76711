"""Commands of OP-TEE's own test PTA. Source: optee_os lib/libutee/include/pta_invoke_tests.h."""

from __future__ import annotations

import enum

from tee.abi.pta_uuids import PTA_INVOKE_TESTS_UUID as PTA_INVOKE_TESTS_UUID


class InvokeTestsCommand(enum.IntEnum):
    """PTA_INVOKE_TESTS_CMD_*; the last came after 4.5."""

    TRACE = 0
    PARAMS = 1
    SELF_TESTS = 2
    COPY_NSEC_TO_SEC = 3
    READ_MODIFY_SEC = 4
    COPY_SEC_TO_NSEC = 5
    FS_HTREE = 6
    MUTEX = 7
    LOCKDEP = 8
    AES_PERF = 9
    MEMREF_NULL = 10
    DT_DRIVER_TESTS = 11
    TRANSFER_LIST_TESTS = 12


class MutexTestKind(enum.IntEnum):
    """PTA_MUTEX_TEST_*: what value[0].a of the mutex command asks for."""

    WRITER = 0
    READER = 1


class AesMode(enum.IntEnum):
    """PTA_INVOKE_TESTS_AES_*: what value[0].b of the AES command asks for."""

    ECB = 0
    CBC = 1
    CTR = 2
    XTS = 3
    GCM = 4
