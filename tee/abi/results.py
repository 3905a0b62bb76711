"""TEE_Result codes and origins.

Source: GP TEE Internal Core API v1.3.1 §3.3.1; optee_os lib/libutee/include/tee_api_defines.h.
"""

from __future__ import annotations

import enum


class Origin(enum.IntEnum):
    """TEEC_ORIGIN_* / TEE_ORIGIN_*."""

    API = 1
    COMMS = 2
    TEE = 3
    TRUSTED_APP = 4


class Result(int):
    """A TEE_Result: an int that prints by name; values outside the table print in hexadecimal."""

    _names: dict[int, str] = {}

    @classmethod
    def of(cls, value: int) -> Result:
        return value if isinstance(value, cls) else cls(value & 0xFFFFFFFF)

    @property
    def name(self) -> str:
        return self._names.get(int(self), f"0x{int(self):08x}")

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<{self.name} 0x{int(self):08x}>"


def _code(name: str, value: int) -> Result:
    Result._names.setdefault(value, name)
    return Result(value)


SUCCESS = _code("TEE_SUCCESS", 0x00000000)
CORRUPT_OBJECT = _code("TEE_ERROR_CORRUPT_OBJECT", 0xF0100001)
CORRUPT_OBJECT_2 = _code("TEE_ERROR_CORRUPT_OBJECT_2", 0xF0100002)
STORAGE_NOT_AVAILABLE = _code("TEE_ERROR_STORAGE_NOT_AVAILABLE", 0xF0100003)
STORAGE_NOT_AVAILABLE_2 = _code("TEE_ERROR_STORAGE_NOT_AVAILABLE_2", 0xF0100004)
UNSUPPORTED_VERSION = _code("TEE_ERROR_UNSUPPORTED_VERSION", 0xF0100005)
CIPHERTEXT_INVALID = _code("TEE_ERROR_CIPHERTEXT_INVALID", 0xF0100006)
GENERIC = _code("TEE_ERROR_GENERIC", 0xFFFF0000)
ACCESS_DENIED = _code("TEE_ERROR_ACCESS_DENIED", 0xFFFF0001)
CANCEL = _code("TEE_ERROR_CANCEL", 0xFFFF0002)
ACCESS_CONFLICT = _code("TEE_ERROR_ACCESS_CONFLICT", 0xFFFF0003)
EXCESS_DATA = _code("TEE_ERROR_EXCESS_DATA", 0xFFFF0004)
BAD_FORMAT = _code("TEE_ERROR_BAD_FORMAT", 0xFFFF0005)
BAD_PARAMETERS = _code("TEE_ERROR_BAD_PARAMETERS", 0xFFFF0006)
BAD_STATE = _code("TEE_ERROR_BAD_STATE", 0xFFFF0007)
ITEM_NOT_FOUND = _code("TEE_ERROR_ITEM_NOT_FOUND", 0xFFFF0008)
NOT_IMPLEMENTED = _code("TEE_ERROR_NOT_IMPLEMENTED", 0xFFFF0009)
NOT_SUPPORTED = _code("TEE_ERROR_NOT_SUPPORTED", 0xFFFF000A)
NO_DATA = _code("TEE_ERROR_NO_DATA", 0xFFFF000B)
OUT_OF_MEMORY = _code("TEE_ERROR_OUT_OF_MEMORY", 0xFFFF000C)
BUSY = _code("TEE_ERROR_BUSY", 0xFFFF000D)
COMMUNICATION = _code("TEE_ERROR_COMMUNICATION", 0xFFFF000E)
SECURITY = _code("TEE_ERROR_SECURITY", 0xFFFF000F)
SHORT_BUFFER = _code("TEE_ERROR_SHORT_BUFFER", 0xFFFF0010)
EXTERNAL_CANCEL = _code("TEE_ERROR_EXTERNAL_CANCEL", 0xFFFF0011)
TIMEOUT = _code("TEE_ERROR_TIMEOUT", 0xFFFF3001)
OVERFLOW = _code("TEE_ERROR_OVERFLOW", 0xFFFF300F)
TARGET_DEAD = _code("TEE_ERROR_TARGET_DEAD", 0xFFFF3024)
STORAGE_NO_SPACE = _code("TEE_ERROR_STORAGE_NO_SPACE", 0xFFFF3041)
MAC_INVALID = _code("TEE_ERROR_MAC_INVALID", 0xFFFF3071)
SIGNATURE_INVALID = _code("TEE_ERROR_SIGNATURE_INVALID", 0xFFFF3072)
TIME_NOT_SET = _code("TEE_ERROR_TIME_NOT_SET", 0xFFFF5000)
TIME_NEEDS_RESET = _code("TEE_ERROR_TIME_NEEDS_RESET", 0xFFFF5001)
