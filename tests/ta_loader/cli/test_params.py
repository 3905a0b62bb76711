"""The parameter syntax, from text to what a TA is handed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from south.errors import UsageError
from south.linux_host.memory import HostPages
from ta_loader.cli.expect import parse_output
from ta_loader.cli.params import ParamSpec, parse_param, parse_params
from tee.params import Kind, Memref, Value

if TYPE_CHECKING:
    from pathlib import Path

WORD = st.integers(0, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("none", ParamSpec(Kind.NONE)),
        ("value:1,2", ParamSpec(Kind.VALUE_INOUT, 1, 2)),
        ("value:0x10", ParamSpec(Kind.VALUE_INOUT, 16, 0)),
        ("value:-1,0", ParamSpec(Kind.VALUE_INOUT, 0xFFFFFFFF, 0)),
        ("value-in:7", ParamSpec(Kind.VALUE_INPUT, 7)),
        ("value-out", ParamSpec(Kind.VALUE_OUTPUT)),
        ("in:hex:00ff", ParamSpec(Kind.MEMREF_INPUT, data=b"\0\xff", size=2)),
        ("in:hex:", ParamSpec(Kind.MEMREF_INPUT)),
        ("in:str:a,b:c", ParamSpec(Kind.MEMREF_INPUT, data=b"a,b:c", size=5)),
        ("in:str:a,5", ParamSpec(Kind.MEMREF_INPUT, data=b"a,5", size=3)),
        ("in:zero:3", ParamSpec(Kind.MEMREF_INPUT, size=3)),
        ("out:4K", ParamSpec(Kind.MEMREF_OUTPUT, size=4096)),
        ("out:0", ParamSpec(Kind.MEMREF_OUTPUT)),
        ("inout:64", ParamSpec(Kind.MEMREF_INOUT, size=64)),
        ("inout:str:abc,16", ParamSpec(Kind.MEMREF_INOUT, data=b"abc", size=16)),
        ("inout:zero:3,16", ParamSpec(Kind.MEMREF_INOUT, size=16)),
        ("inout:str:abc", ParamSpec(Kind.MEMREF_INOUT, data=b"abc", size=3)),
        ("null", ParamSpec(Kind.MEMREF_INPUT, null=True)),
        ("out:null", ParamSpec(Kind.MEMREF_OUTPUT, null=True)),
        ("inout:null", ParamSpec(Kind.MEMREF_INOUT, null=True)),
    ],
)
def test_forms(text: str, spec: ParamSpec) -> None:
    assert parse_param(text) == spec


@pytest.mark.parametrize(
    "text",
    ["", "value", "value:", "value:x", "value:1,2,3", "value:0x100000000", "in:", "in:hex:0", "in:hex:zz", "in:8",
     "out:", "out:-1", "out:99G", "inout:hex:0011,1", "in:@", "in:@/nonexistent/file", "in:@a\0b", "val:1"],
)  # fmt: skip
def test_malformed(text: str) -> None:
    with pytest.raises(UsageError):
        parse_param(text)


def test_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"xyz")
    assert parse_param(f"in:@{tmp_path}/data").data == b"xyz"
    assert parse_param(f"inout:@{tmp_path}/data,8") == ParamSpec(Kind.MEMREF_INOUT, data=b"xyz", size=8)


def test_at_most_four() -> None:
    with pytest.raises(UsageError, match="at most 4"):
        parse_params(["none"] * 5)


@given(WORD, WORD)
def test_words_survive(a: int, b: int) -> None:
    for text in (f"value:{a},{b}", f"value:{a:#x},{b:#o}"):
        built = parse_param(text).build(HostPages())
        assert isinstance(built, Value)
        assert (built.a, built.b) == (a, b)


@given(st.binary(max_size=200))
def test_bytes_survive(data: bytes) -> None:
    built = parse_param(f"in:hex:{data.hex()}").build(HostPages())
    assert isinstance(built, Memref)
    assert built.pages is not None  # an empty memref is not a NULL one
    assert bytes(built.pages.view(0, built.size)) == data


@given(st.text(max_size=40))
def test_any_text_is_a_parameter_or_a_usage_error(text: str) -> None:
    if "@" in text or "zero:" in text:
        return  # reads files, or allocates what was asked for
    try:
        parse_param(text)
    except UsageError:
        pass
    try:
        parse_output(text)
    except UsageError:
        pass


def test_null_is_not_empty() -> None:
    null, empty = parse_param("out:null").build(HostPages()), parse_param("out:0").build(HostPages())
    assert isinstance(null, Memref)
    assert isinstance(empty, Memref)
    assert null.pages is None
    assert empty.pages is not None
    assert null.size == empty.size == 0
