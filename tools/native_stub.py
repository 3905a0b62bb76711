"""Writes tee/_native.pyi: the types of `tee._native`, from the declarations in tee/csrc/native.h.

python -m tools.native_stub [--check] [FILE]

A C integer is an int, a struct without a body a handle of its own, a pointer to bytes or numbers a type by what it
points to and whether C writes there. pycparser, which cffi brings, reads the header.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pycparser import c_ast, c_parser

from tee.build_native import declarations
from tools import page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "tee" / "_native.pyi"

_PREFIX = "tee_"
_INTEGERS = ("uint8_t", "uint32_t", "uint64_t", "int64_t", "uintptr_t")
_PRELUDE = "".join(f"typedef int {name};" for name in _INTEGERS)
"""What stdint.h declares; the parser is given no other header."""
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_ARRAYS = {"uint32_t": "Uint32s", "uint64_t": "Uint64s", "uintptr_t": "Uintptrs"}

_HEAD = '''\
"""Made by `python -m tools.native_stub` from tee/csrc/native.h; change that instead."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NewType, TypeAlias, TypeVar, overload

from typing_extensions import Buffer

_T = TypeVar("_T")

class Octets:
    """`const uint8_t *`: a buffer that C reads, in place."""

    def __len__(self) -> int: ...

class Room(Octets):
    """`uint8_t *`: a buffer that C writes, in place."""

class _Numbers:
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> int: ...
    def __iter__(self) -> Iterator[int]: ...

class Null:
    """NULL."""

'''

_FFI = '''
class Ffi:
    """What cffi gives of an extension: memory of C's types, and pointers to memory of Python's."""

    NULL: Null
{new}
    @overload
    def from_buffer(self, cdecl: Literal["uint8_t[]"], data: Buffer) -> Octets: ...
    @overload
    def from_buffer(self, cdecl: Literal["uint8_t[]"], data: Buffer, require_writable: Literal[True]) -> Room: ...
    def cast(self, cdecl: Literal["uintptr_t"], pointer: object) -> int: ...
    def gc(self, pointer: _T, free: Callable[[_T], None]) -> _T: ...
'''

_NEW = """\
    @overload
    def new(self, cdecl: Literal[{names}], init: {init} = ...) -> {made}: ..."""


class _Struct(NamedTuple):
    """fields: None where the header gives no body."""

    name: str
    fields: tuple[c_ast.Decl, ...] | None

    @property
    def words(self) -> str:
        return "".join(word.capitalize() for word in self.name.removeprefix(_PREFIX).split("_"))

    @property
    def pointer(self) -> str:
        return self.words + "Pointer"


class Header:
    """What declarations of C say. ValueError, when it is asked for: a type that has no counterpart here."""

    def __init__(self, text: str) -> None:
        self.structs: dict[str, _Struct] = {}
        self.functions: list[c_ast.Decl] = []
        self.arrays: set[str] = set()
        """C types of arrays of a fixed size that functions take."""
        for node in c_parser.CParser().parse(_PRELUDE + _COMMENT.sub("", text)).ext:
            if isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.Struct):
                body = node.type.decls
                self.structs[node.type.name] = _Struct(node.type.name, tuple(body) if body else None)
            elif isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.FuncDecl):
                self.functions.append(node)
        for function in self.functions:
            for parameter in _parameters(function):
                if isinstance(parameter.type, c_ast.ArrayDecl) and _base(parameter.type) != "uint8_t":
                    self.arrays.add(f"{_spelled(parameter.type)}[{parameter.type.dim.value}]")

    def type_of(self, node: c_ast.Node) -> str:
        """Python's type of a parameter or field of C's type `node`."""
        if isinstance(node, c_ast.TypeDecl):
            return self._plain(node)
        if not isinstance(node, c_ast.PtrDecl | c_ast.ArrayDecl) or not isinstance(node.type, c_ast.TypeDecl):
            raise ValueError(f"{node.coord}: a type that nobody needed so far")
        if isinstance(node.type.type, c_ast.Struct):
            return self.structs[node.type.type.name].pointer
        base = _base(node)
        constant = "const" in node.type.quals
        if base == "char" and constant:
            return "bytes"
        if base == "uint8_t":
            return "Octets" if constant else "Room"
        if base not in _ARRAYS:
            raise ValueError(f"{node.coord}: a pointer to {base}, which nobody needed so far")
        return _ARRAYS[base]

    def _plain(self, node: c_ast.TypeDecl) -> str:
        if isinstance(node.type, c_ast.Struct):
            return self.structs[node.type.name].words
        base = _base(node)
        if base == "void":
            return "None"
        if base not in ("int", *_INTEGERS):
            raise ValueError(f"{node.coord}: {base} is no integer")
        return "int"

    def structures(self) -> Iterator[str]:
        for struct in self.structs.values():
            yield f'{struct.pointer} = NewType("{struct.pointer}", object)\n"""`struct {struct.name} *`"""\n'
        for struct in self.by_value():
            assert struct.fields is not None
            fields = ", ".join(self.type_of(field.type) for field in struct.fields)
            yield f'{struct.words}: TypeAlias = tuple[{fields}]\n"""`struct {struct.name}`, made by cffi"""\n'

    def by_value(self) -> list[_Struct]:
        """The structures that functions take as they are."""
        taken = {
            parameter.type.type.name
            for function in self.functions
            for parameter in _parameters(function)
            if isinstance(parameter.type, c_ast.TypeDecl) and isinstance(parameter.type.type, c_ast.Struct)
        }
        return [struct for name, struct in self.structs.items() if name in taken]

    def makers(self) -> Iterator[str]:
        """Overloads of `new`."""
        fixed = sorted(self.arrays)
        for base, made in _ARRAYS.items():
            names = [f"{base}[]", *(name for name in fixed if name.startswith(f"{base}["))]
            yield _NEW.format(names=_literals(names), init="int | Sequence[int]", made=made)
            yield _NEW.format(names=_literals([f"{base} *"]), init="int", made=made)
        for struct in self.structs.values():
            if struct.fields is not None and struct not in self.by_value():
                fields = sorted({self._initial(field.type) for field in struct.fields})
                init = f"Sequence[{' | '.join(fields)}]"
                yield _NEW.format(names=_literals([f"struct {struct.name} *"]), init=init, made=struct.pointer)
            arrays = [name for name in fixed if name.startswith(f"struct {struct.name}[")]
            if arrays:
                yield _NEW.format(names=_literals(arrays), init=f"Sequence[{struct.words}]", made=struct.pointer)

    def _initial(self, node: c_ast.Node) -> str:
        return "bytes" if isinstance(node, c_ast.ArrayDecl) and _base(node) == "uint8_t" else self.type_of(node)

    def methods(self) -> Iterator[str]:
        for function in self.functions:
            words = [f"{p.name}: {self.type_of(p.type)}" for p in _parameters(function)]
            result = self.type_of(function.type.type)
            yield f"    def {function.name}({', '.join(['self', *words])}) -> {result}: ..."


def _parameters(function: c_ast.Decl) -> list[c_ast.Decl]:
    """None for `(void)`."""
    args = function.type.args
    return [each for each in args.params if isinstance(each, c_ast.Decl)] if args is not None else []


def _base(node: c_ast.Node) -> str:
    """The innermost type's name; of a structure its tag."""
    while not isinstance(node, c_ast.IdentifierType | c_ast.Struct):
        node = node.type
    return str(node.name) if isinstance(node, c_ast.Struct) else " ".join(node.names)


def _spelled(node: c_ast.Node) -> str:
    prefix = "struct " if isinstance(node.type.type, c_ast.Struct) else ""
    return prefix + _base(node)


def _literals(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def render() -> str:
    header = Header(declarations(ROOT))
    parts = [_HEAD]
    parts += [f'class {made}(_Numbers):\n    """`{base} *`"""\n' for base, made in _ARRAYS.items()]
    parts += header.structures()
    parts.append(_FFI.format(new="\n".join(header.makers())))
    parts.append('class Lib:\n    """The functions, as native.h declares them."""\n')
    parts += header.methods()
    parts.append("\nffi: Ffi\nlib: Lib\n")
    return _formatted("\n".join(parts))


def _formatted(text: str) -> str:
    ruff = partial(subprocess.run, input=text, capture_output=True, text=True, check=True, cwd=ROOT)
    return str(ruff([sys.executable, "-m", "ruff", "format", "--stdin-filename", str(PAGE), "-"]).stdout)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.native_stub")
    page.add_options(parser, PAGE)
    return page.put(render(), parser.parse_args(argv), "native_stub")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
