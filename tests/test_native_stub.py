"""tee/_native.pyi is what its generator makes of native.h, and agrees with the extension that was built."""

from __future__ import annotations

import ast

import pytest

from tee._native import ffi, lib
from tools import native_stub


def stubs() -> dict[str, ast.FunctionDef]:
    (functions,) = (
        node
        for node in ast.parse(native_stub.PAGE.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Lib"
    )
    return {node.name: node for node in functions.body if isinstance(node, ast.FunctionDef)}


def test_it_is_up_to_date() -> None:
    assert native_stub.main(["--check"]) == 0, "run python -m tools.native_stub"


def test_it_names_what_the_extension_has() -> None:
    assert sorted(stubs()) == sorted(dir(lib))


_INTEGER = {"primitive": True, "pointer": False, "struct": False, "array": False}
"""By cffi's kind of a type: whether it is an int for Python."""


def test_it_tells_numbers_from_pointers_as_cffi_does() -> None:
    for name, node in stubs().items():
        c = ffi.typeof(getattr(lib, name))  # type: ignore[attr-defined]
        words = node.args.args[1:]
        assert len(words) == len(c.args), name
        for word, each in zip(words, c.args, strict=True):
            assert word.annotation is not None
            assert (ast.unparse(word.annotation) == "int") == _INTEGER[each.kind], (name, word.arg)
        result = ast.unparse(node.returns) if node.returns else ""
        assert result == "None" if c.result.kind == "void" else (result == "int") == _INTEGER[c.result.kind], name


def test_what_c_only_reads_is_told_from_what_it_writes() -> None:
    header = native_stub.Header("void f(const uint8_t *data, uint8_t *out, uint8_t hash[32], uint64_t *size, int n);")
    assert list(header.methods()) == [
        "    def f(self, data: Octets, out: Room, hash: Room, size: Uint64s, n: int) -> None: ..."
    ]


def test_each_opaque_structure_has_a_handle_of_its_own() -> None:
    header = native_stub.Header("struct tee_a; struct tee_b_c; struct tee_a *f(const struct tee_b_c *other);")
    assert list(header.methods()) == ["    def f(self, other: BCPointer) -> APointer: ..."]
    assert [text.partition("\n")[0] for text in header.structures()] == [
        'APointer = NewType("APointer", object)',
        'BCPointer = NewType("BCPointer", object)',
    ]


@pytest.mark.parametrize("parameter", ["double x", "void *x", "char **x", "void (*x)(int)"])
def test_a_type_it_does_not_know_is_refused(parameter: str) -> None:
    header = native_stub.Header(f"void f({parameter});")
    with pytest.raises(ValueError, match=r"no integer|nobody needed"):
        list(header.methods())
