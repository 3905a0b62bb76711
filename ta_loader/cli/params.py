"""The parameter syntax of `run` and of scripts: text to typed parameters, before anything is loaded.

    none                      no parameter (also for those not written)
    value:A[,B]               two 32-bit words, in and out
    value-in:A[,B]  value-out
    in:DATA  out:SIZE  inout:DATA[,SIZE]  inout:SIZE
    null  out:null  inout:null   a NULL memref, which is not an empty one

DATA is `@FILE` (`@-`: standard input), `hex:...`, `str:...` or `zero:SIZE`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from south.errors import UsageError
from ta_loader.cli.options import integer, size
from ta_loader.inputs import MAX_FILE, read_input, read_stdin
from tee.params import Kind, Memref, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from south.platform import PageSource
    from tee.params import Param

    Read: TypeAlias = Callable[[str, str], bytes]

MAX_PARAMS = 4
"""TEE_NUM_PARAMS, GP TEE Client API v1.0 §4.3.8."""
MAX_MEMREF = 1 << 31
"""Bytes; more than a board's TAs have addresses for, and no more than one of a wide address space may want."""

_VALUES = {"value": Kind.VALUE_INOUT, "value-inout": Kind.VALUE_INOUT, "value-in": Kind.VALUE_INPUT}
_MEMREFS = {"in": Kind.MEMREF_INPUT, "inout": Kind.MEMREF_INOUT}
OUTPUTS = (Kind.VALUE_OUTPUT, Kind.VALUE_INOUT, Kind.MEMREF_OUTPUT, Kind.MEMREF_INOUT)


def is_output(kind: Kind) -> bool:
    """Whether a TA's answer comes back through it."""
    return kind in OUTPUTS


class ParamSpec(NamedTuple):
    """A parameter as it was written. data: what its memory begins with; size: bytes of it; null: a NULL memref."""

    kind: Kind
    a: int = 0
    b: int = 0
    data: bytes = b""
    size: int = 0
    null: bool = False

    @property
    def is_memref(self) -> bool:
        return self.kind >= Kind.MEMREF_INPUT

    @property
    def is_output(self) -> bool:
        return is_output(self.kind)

    def nothing(self) -> ParamSpec:
        """The same without memory, of a call that cannot be made."""
        return self._replace(data=b"", size=0, null=True) if self.is_memref else self

    def build(self, pages: PageSource) -> Param:
        """A fresh parameter for one call."""
        if self.kind is Kind.NONE:
            return None
        if not self.is_memref:
            return Value(self.kind, self.a, self.b)
        if self.null:
            return Memref(self.kind, None, 0)
        memory = pages.shared(max(self.size, 1))  # an empty memref has an address, too
        if self.data:
            memory.view(0, len(self.data))[:] = self.data
        return Memref(self.kind, memory, self.size)


def read_named(path: str, text: str) -> bytes:
    """The file of `@PATH` in `text`, or standard input for `@-`. UsageError."""
    return read_stdin(text) if path == "-" else read_input(path, f"{text[:60]}:", MAX_FILE)


def parse_params(texts: Sequence[str], read: Read = read_named) -> tuple[ParamSpec, ...]:
    """UsageError if there are too many, or one is malformed. read: gives the bytes of files."""
    if len(texts) > MAX_PARAMS:
        raise UsageError(f"a call takes at most {MAX_PARAMS} parameters, here are {len(texts)}: {' '.join(texts)}")
    return tuple(parse_param(text, read) for text in texts)


def parse_param(text: str, read: Read = read_named) -> ParamSpec:
    """One parameter; files are read now. UsageError says which forms there are."""
    head, colon, rest = text.partition(":")
    if head in _VALUES and colon:
        return ParamSpec(_VALUES[head], *_words(rest, text))
    if text in ("value-out", "value-out:"):
        return ParamSpec(Kind.VALUE_OUTPUT)
    if text == "none":
        return ParamSpec(Kind.NONE)
    if text == "null":
        return ParamSpec(Kind.MEMREF_INPUT, null=True)
    if head == "out" and colon:
        if rest == "null":
            return ParamSpec(Kind.MEMREF_OUTPUT, null=True)
        return ParamSpec(Kind.MEMREF_OUTPUT, size=size(rest, text, MAX_MEMREF))
    if head in _MEMREFS and colon:
        return _memref(_MEMREFS[head], rest, text, read)
    raise UsageError(
        f"{text!r} is not a parameter: write value:A,B, value-in:A,B, value-out, in:@FILE, in:hex:00ff, in:str:text, "
        "out:SIZE, inout:DATA[,SIZE], null or none"
    )


def _words(rest: str, text: str) -> tuple[int, int]:
    first, _, second = rest.partition(",")
    a = integer(first, text, -(1 << 31), (1 << 32) - 1)
    b = integer(second, text, -(1 << 31), (1 << 32) - 1) if second else 0
    return a & 0xFFFFFFFF, b & 0xFFFFFFFF


def _memref(kind: Kind, rest: str, text: str, read: Read) -> ParamSpec:
    if rest == "null":
        return ParamSpec(kind, null=True)
    room: int | None = None
    if kind is Kind.MEMREF_INOUT:
        if rest[:1].isdigit():
            return ParamSpec(kind, size=size(rest, text, MAX_MEMREF))
        before, comma, last = rest.rpartition(",")
        if comma and last[:1].isdigit():
            rest, room = before, size(last, text, MAX_MEMREF)
    if rest.startswith("zero:"):
        data, length = b"", size(rest[5:], text, MAX_MEMREF)  # as new memory is
    else:
        data = read_data(rest, text, read)
        length = len(data)
    if room is not None and room < length:
        raise UsageError(f"{text[:60]}: the buffer of {room} bytes is smaller than its data, {length} bytes")
    return ParamSpec(kind, data=data, size=length if room is None else room)


def read_data(rest: str, text: str, read: Read = read_named) -> bytes:
    """DATA of the syntax above; `text` names it in errors."""
    if rest.startswith("@"):
        return read(rest[1:], text)
    form, colon, body = rest.partition(":")
    if colon and form == "hex":
        try:
            return bytes.fromhex(body)
        except ValueError:
            raise UsageError(f"{text[:60]}: not hexadecimal; write pairs of digits, like hex:00ff") from None
    if colon and form == "str":
        return body.encode("utf-8", "surrogateescape")
    if colon and form == "zero":
        try:
            return bytes(size(body, text, MAX_MEMREF))
        except MemoryError:
            raise UsageError(f"{text[:60]}: does not fit into memory") from None
    raise UsageError(f"{text[:60]}: data is @FILE, hex:DIGITS, str:TEXT or zero:SIZE")
