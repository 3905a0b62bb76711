"""Identifiers and layouts against the headers of OP-TEE's TA development kit."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from normal_world.libteec import has_c_library
from tee.abi import algorithms as alg
from tee.abi.attributes import UTEE_ATTRIBUTE, Attr, Curve
from tee.abi.objects import TYPES, UTEE_OBJECT_INFO, AttrFlag, HandleFlag, ObjectType, Usage
from tee.abi.properties import IDENTITY, PropSet, PropType

if TYPE_CHECKING:
    import enum
    from pathlib import Path

_DEFINE = re.compile(r"^#define\s+(TEE_\w+|USER_TA_\w+)\s+(?:\(\w+\))?(0x[0-9A-Fa-f]+|\d+)\s*(?:/\*.*)?$", re.M)

NEWER = {f"PBKDF2_HMAC_{name}_DERIVE_KEY" for name in ("SHA224", "SHA256", "SHA384", "SHA512", "SM3")}
"""Identifiers OP-TEE named after 4.5; their bits always meant that."""


@pytest.fixture(scope="module")
def defines(debian_kit: Path) -> dict[str, int]:
    out: dict[str, int] = {}
    for name in ("tee_api_defines.h", "tee_api_defines_extensions.h", "utee_defines.h"):
        text = (debian_kit / "include" / name).read_text()
        out |= {match[1]: int(match[2], 0) for match in _DEFINE.finditer(text)}
    return out


@pytest.mark.parametrize(
    ("prefix", "ours"),
    [
        ("TEE_ALG_", alg.Algorithm),
        ("TEE_TYPE_", ObjectType),
        ("TEE_ATTR_", Attr),
        ("TEE_MODE_", alg.Mode),
        ("TEE_MAIN_ALGO_", alg.MainAlgorithm),
        ("TEE_CHAIN_MODE_", alg.ChainMode),
        ("TEE_ECC_CURVE_", Curve),
        ("TEE_USAGE_", Usage),
        ("TEE_HANDLE_FLAG_", HandleFlag),
        ("TEE_PROPSET_", PropSet),
    ],
)
def test_identifiers(defines: dict[str, int], prefix: str, ours: type[enum.IntEnum | enum.IntFlag]) -> None:
    theirs = {name.removeprefix(prefix): value for name, value in defines.items() if name.startswith(prefix)}
    if prefix == "TEE_ECC_CURVE_":
        theirs["CURVE_25519"] = theirs.pop("25519")
    if prefix == "TEE_MODE_":
        del theirs["ILLEGAL_VALUE"]
    mine = {name: int(member) for name, member in ours.__members__.items()}
    if prefix == "TEE_HANDLE_FLAG_":
        mine.pop("NONE")
    assert {name: value for name, value in mine.items() if name not in NEWER} == theirs


_PROGRAM = """
#include <stdbool.h>
#include <stdio.h>
#include <utee_defines.h>
int main(void)
{
    static const uint32_t algs[] = { %s };
    for (unsigned i = 0; i < sizeof(algs) / sizeof(*algs); i++) {
        uint32_t a = algs[i];
        printf("%%u %%u %%u %%u %%u %%u %%u\\n", a, TEE_ALG_GET_CLASS(a), TEE_ALG_GET_MAIN_ALG(a),
               TEE_ALG_GET_CHAIN_MODE(a), TEE_ALG_GET_DIGEST_HASH(a), TEE_ALG_GET_INTERNAL_HASH(a),
               (unsigned)TEE_ALG_GET_DIGEST_SIZE(a));
    }
    return 0;
}
"""


def test_bits_of_algorithms(debian_kit: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    numbers = [*map(int, alg.Algorithm), 0, 0x12345678, 0xFFFFFFFF]
    source = tmp_path / "bits.c"
    source.write_text(_PROGRAM % ", ".join(f"0x{number:x}u" for number in numbers))
    # The kit's own libc headers are for its targets: take only those of OP-TEE itself.
    include = tmp_path / "include"
    include.mkdir()
    for name in ("utee_defines.h", "tee_api_defines.h", "tee_api_defines_extensions.h", "compiler.h", "types_ext.h"):
        shutil.copy(debian_kit / "include" / name, include)
    subprocess.run([compiler, "-w", "-I", include, "-o", tmp_path / "bits", source], check=True, timeout=60)
    out = subprocess.run([tmp_path / "bits"], check=True, timeout=10, capture_output=True, text=True).stdout
    rows = [tuple(map(int, line.split())) for line in out.splitlines()]
    assert len(rows) == len(numbers)
    for number, class_, main, chain, digest, internal, size in rows:
        assert alg.operation_class(number) == class_, hex(number)
        assert alg.main_algorithm(number) == main, hex(number)
        assert alg.chain_mode(number) == chain
        assert alg.digest_hash(number) == digest
        assert alg.internal_hash(number) == internal
        assert alg.digest_size(number) == size, hex(number)


_LAYOUT = """
#include <stddef.h>
#include <tee_api_types.h>
#include <utee_types.h>
#include <user_ta_header.h>
_Static_assert(sizeof(struct utee_attribute) == %d, "size");
_Static_assert(offsetof(struct utee_attribute, b) == 8, "b");
_Static_assert(offsetof(struct utee_attribute, attribute_id) == 16, "attribute_id");
_Static_assert(sizeof(struct utee_object_info) == %d, "info");
_Static_assert(offsetof(struct utee_object_info, handle_flags) == 24, "handle_flags");
_Static_assert(sizeof(TEE_Identity) == %d, "identity");
_Static_assert(offsetof(TEE_Identity, uuid) == 4, "uuid");
_Static_assert(USER_TA_PROP_TYPE_BOOL == %d && USER_TA_PROP_TYPE_BINARY_BLOCK == %d && USER_TA_PROP_TYPE_U64 == %d,
               "property types");
"""


@pytest.mark.parametrize("compiler", ["aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc"])
def test_layouts(debian_kit: Path, tmp_path: Path, compiler: str) -> None:
    if not has_c_library(compiler):
        pytest.skip(f"no {compiler} with a C library on this machine")
    source = tmp_path / "layout.c"
    sizes = (UTEE_ATTRIBUTE.size, UTEE_OBJECT_INFO.size, IDENTITY.size)
    source.write_text(_LAYOUT % (*sizes, PropType.BOOL, PropType.BINARY_BLOCK, PropType.U64))
    include = debian_kit / "include"
    subprocess.run([compiler, "-w", "-fsyntax-only", "-I", include, source], check=True, timeout=60)


def test_every_type_has_one_size_indicator_at_most_and_fits_its_bit_mask() -> None:
    for props in TYPES.values():
        assert sum(bool(attr.flags & AttrFlag.SIZE_INDICATOR) for attr in props.attrs) <= 1
        assert len({attr.attr for attr in props.attrs}) == len(props.attrs) < 32
        assert props.min_bits % props.quanta == 0 or props.type is ObjectType.DES3
        assert bool(props.alloc) == (props.attrs[0].kind.value == "secret")


def test_block_sizes() -> None:
    assert alg.block_size(alg.Algorithm.AES_GCM) == alg.block_size(alg.Algorithm.SM4_XTS) == 16
    assert alg.block_size(alg.Algorithm.DES3_CMAC) == 8
    assert alg.block_size(alg.Algorithm.SHA256) == alg.block_size(alg.Algorithm.RSA_NOPAD) == 0
