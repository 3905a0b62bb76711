"""The header of a user TA and the tables its loader fills for libutee.

Source: optee_os lib/libutee/include/user_ta_header.h (`struct ta_head`, TA_FLAG_*, `struct __elf_phdr_info`,
`struct user_ta_property`), lib/libutee/include/link.h (`struct dl_phdr_info`) and ldelf/ta_elf.c
(`struct __init_fini_info`). All little-endian; every layout is that of the TA's own word size.
"""

from __future__ import annotations

from struct import Struct

TA_FLAG_SINGLE_INSTANCE = 1 << 2
TA_FLAG_MULTI_SESSION = 1 << 3
TA_FLAG_INSTANCE_KEEP_ALIVE = 1 << 4
TA_FLAG_SECURE_DATA_PATH = 1 << 5
TA_FLAG_CACHE_MAINTENANCE = 1 << 7
TA_FLAG_CONCURRENT = 1 << 8
"""Pseudo-TAs only: a user TA that asks for it is refused (optee_os ldelf/ta_elf.c, `ta_elf_load_main`)."""
TA_FLAG_DEVICE_ENUM = 1 << 9
TA_FLAG_DEVICE_ENUM_SUPP = 1 << 10
TA_FLAG_DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT = 1 << 11
TA_FLAG_DEVICE_ENUM_TEE_STORAGE_PRIVATE = 1 << 12
TA_FLAG_INSTANCE_KEEP_CRASHED = 1 << 13

TA_FLAGS_MASK = (1 << 14) - 1
"""Bits 0, 1 and 6 are deprecated names without a meaning; they are allowed."""

FLAG_NAMES: tuple[tuple[int, str], ...] = tuple(
    (value, name) for name, value in list(globals().items()) if name.startswith("TA_FLAG_")
)
"""(bit, "TA_FLAG_...") in bit order."""

TA_HEAD = Struct("<16sIIQ")
"""struct ta_head: uuid (TEE_UUID as it lies in memory), stack_size (bytes), flags, depr_entry."""

NO_DEPR_ENTRY = 0xFFFFFFFFFFFFFFFF
"""depr_entry of every TA since ELF's own entry point is used; anything else is a legacy TA's entry."""

STACK_ALIGN_AARCH64 = 16
STACK_ALIGN_ARM = 8
"""stack_size is a multiple of these bytes (AAPCS64 §6.4.5.1, AAPCS32 §6.2.1.2; ldelf checks it)."""

TABLE_INFO_64 = Struct("<IHBBQ")
TABLE_INFO_32 = Struct("<IHBBI")
"""struct __elf_phdr_info and struct __init_fini_info alike: reserved (0), count, two bytes, pointer to entries."""

PHDR_INFO_ZERO = 7
"""Offset of `char zero` in struct __elf_phdr_info: the name of a module that has none."""

DL_PHDR_INFO_64 = Struct("<QQQH6xQQQQ")
DL_PHDR_INFO_32 = Struct("<IIIH2xQQII")
"""struct dl_phdr_info: addr, name, phdr, phnum, adds, subs, tls_modid, tls_data."""

INIT_FINI_64 = Struct("<IHHQQ")
INIT_FINI_32 = Struct("<IHHII")
"""struct __init_fini: flags, init_size, fini_size (entries), init, fini."""

IFS_VALID = 1 << 0

USER_TA_PROPERTY_64 = Struct("<QI4xQ")
USER_TA_PROPERTY_32 = Struct("<III")
"""struct user_ta_property: name (pointer), type (tee.abi.properties.PropType), value (pointer)."""

TA_PROP_STR_SINGLE_INSTANCE = "gpd.ta.singleInstance"
"""First entry of `ta_props` in every TA (optee_os ta/user_ta_header.c)."""
TA_PROP_STR_DATA_SIZE = "gpd.ta.dataSize"
"""The heap's size, bytes."""


def flag_names(flags: int) -> tuple[str, ...]:
    """Names of the bits of `flags`, lowest first; unknown bits in hexadecimal."""
    names = [name for bit, name in FLAG_NAMES if flags & bit]
    unknown = flags & ~TA_FLAGS_MASK
    if unknown:
        names.append(f"{unknown:#x}")
    return tuple(names)
