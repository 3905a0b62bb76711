"""UUIDs and command numbers of OP-TEE's test TAs and of those that come with its TA development kit.

Source: optee_test 4.5 ta/*/include/*.h; optee_os 4.5 ta/*.
"""

from __future__ import annotations

import enum
from uuid import UUID

AVB = UUID("023f8f1a-292a-432b-8fc4-de8471358067")
REMOTEPROC = UUID("80a4c275-0a47-4905-8285-1486a9771a08")
TRUSTED_KEYS = UUID("f04a0fe7-1f5d-4b9b-abf7-619b85b4ce8c")
PKCS11 = UUID("fd02c9da-306c-48c7-a49c-bbd827ae86ee")

CONCURRENT = UUID("e13010e0-2ae1-11e5-896a-0002a5d5c51b")
CONCURRENT_LARGE = UUID("5ce0c432-0ab0-40e5-a056-782ca0e6aba2")
CREATE_FAIL = UUID("c3f6e2c0-3548-11e1-b86c-0800200c9a66")
CRYPT = UUID("cb3e5ba0-adf1-11e0-998b-0002a5d5c51b")
CRYPTO_PERF = UUID("02a42f43-d8b7-4a57-aa4d-87bd9b5587cb")
LARGE = UUID("25497083-a58a-4fc5-8a72-1ad7b69b8562")
MISS = UUID("528938ce-fc59-11e8-8eb2-f2801f1b9fd1")
OS_TEST = UUID("5b9e0e40-2636-11e1-ad9e-0002a5d5c51b")
OS_TEST_LIB = UUID("ffd2bded-ab7d-4988-95ee-e4962fff7154")
OS_TEST_LIB_DL = UUID("b3091a65-9751-4784-abf7-0298a7cc35ba")
RPC = UUID("d17f73a0-36ef-11e1-984a-0002a5d5c51b")
SIMS = UUID("e6a33ed4-562b-463a-bb7e-ff5e15a493c8")
SIMS_KEEP_ALIVE = UUID("a4c04d50-f180-11e8-8eb2-f2801f1b9fd1")
SOCKET = UUID("873bcd08-c2c3-11e6-a937-d0bf9c45c61c")
STORAGE = UUID("b689f2a7-8adf-477a-9f99-32e90c0ad0a2")
STORAGE2 = UUID("731e279e-aafb-4575-a771-38caa6f0cca6")
STORAGE_BENCHMARK = UUID("f157cda0-550c-11e5-a6fa-0002a5d5c51b")
SUBKEY1 = UUID("5c206987-16a3-59cc-ab0f-64b9cfc9e758")
SUBKEY2 = UUID("a720ccbb-51da-417d-b82e-e5445d474a7a")
SUPP_PLUGIN = UUID("380231ac-fb99-47ad-a689-9e017eb6e78a")


class Os(enum.IntEnum):
    """TA_OS_TEST_CMD_*, ta_os_test.h."""

    INIT = 0
    CLIENT_WITH_TIMEOUT = 1
    BASIC = 5
    PANIC = 6
    CLIENT = 7
    PARAMS_ACCESS = 8
    WAIT = 9
    BAD_MEM_ACCESS = 10
    TA2TA_MEMREF = 11
    TA2TA_MEMREF_MIX = 12
    PARAMS = 13
    CALL_LIB = 14
    CALL_LIB_PANIC = 15
    CALL_LIB_DL = 16
    CALL_LIB_DL_PANIC = 17
    GET_GLOBAL_VAR = 18
    NULL_MEMREF_PARAMS = 19
    CLIENT_IDENTITY = 20
    TLS_TEST_MAIN = 21
    TLS_TEST_SHLIB = 22
    DL_PHDR = 23
    DL_PHDR_DL = 24
    CXX_CTOR_MAIN = 25
    CXX_CTOR_SHLIB = 26
    CXX_CTOR_SHLIB_DL = 27
    CXX_EXC_MAIN = 28
    CXX_EXC_MIXED = 29
    PAUTH_NOP = 30
    PAUTH_CORRUPT_PAC = 31
    ATTESTATION = 32
    MEMTAG_USE_AFTER_FREE = 33
    MEMTAG_INVALID_TAG = 34
    MEMTAG_DOUBLE_FREE = 35
    MEMTAG_BUFFER_OVERRUN = 36
    TA2TA_MEMREF_SIZE0 = 37


class Sims(enum.IntEnum):
    """TA_SIMS_*, ta_sims_test.h; sims_keepalive and miss are the same program with other flags."""

    READ = 1
    WRITE = 2
    GET_COUNTER = 3
    PANIC = 4
    OPEN_TA_SESSION = 5


class Rpc(enum.IntEnum):
    """TA_RPC_CMD_*, ta_rpc_test.h."""

    SHA224 = 1
    SHA256 = 2
    AES256ECB_ENC = 3
    AES256ECB_DEC = 4
    OPEN = 5
    PRIVMEM_SHA224 = 6
    PRIVMEM_SHA256 = 7
    PRIVMEM_AES256ECB_ENC = 8
    PRIVMEM_AES256ECB_DEC = 9


class Concurrent(enum.IntEnum):
    """TA_CONCURRENT_CMD_*, ta_concurrent.h."""

    BUSY_LOOP = 0
    SHA256 = 1


class Crypt(enum.IntEnum):
    """TA_CRYPT_CMD_*, ta_crypt.h; those that are used here."""

    SHA224 = 1
    SHA256 = 2
    AES256ECB_ENC = 3
    AES256ECB_DEC = 4
    SETGLOBAL = 40
    GETGLOBAL = 41
    MBEDTLS_SELF_TESTS = 42
    MBEDTLS_CHECK_CERT = 43
    MBEDTLS_SIGN_CERT = 44
    SEED_RNG_POOL = 45
    ARITH_NEW_VAR = 46
    ARITH_FREE_HANDLE = 49
    ARITH_FROM_OCTET_STRING = 50
    ARITH_GET_VALUE = 52
    ARITH_ADD = 59
    ARITH_SUB = 60
    ARITH_MUL = 61
    ARITH_DIV = 64
    ARITH_MOD = 65
    ARITH_MULMOD = 68
    ARITH_INVMOD = 70
    ARITH_IS_PRIME = 73
    DERIVE_TA_UNIQUE_KEY = 77
    DERIVE_TA_UNIQUE_KEY_SHM = 78
    ARITH_EXPMOD = 84
