"""What a script expects of a step: result, origin, outputs, or a death.

Outputs are compared by parameter: `value:A,B`, `hex:...`, `str:...`, `@FILE`, `size:N`, or `any`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from south.errors import UsageError
from ta_loader.cli.fields import text_of
from ta_loader.cli.options import integer, size
from ta_loader.cli.params import MAX_MEMREF, MAX_PARAMS, read_data, read_named
from tee.abi import results
from tee.abi.results import Origin, Result
from tee.params import Value

if TYPE_CHECKING:
    from ta_loader.cli.calls import Step
    from ta_loader.cli.params import Read
    from tee.params import Memref, Param

_DEATHS = ("panic", "fault", "exception", "limit", "killed")
_U32: Final = (1 << 32) - 1
_SHOWN = 32  # bytes of a differing buffer that a message prints


class Expectation(NamedTuple):
    """origin None: any. died: kind of the death, "" for none; panic: its code, None for any."""

    result: Result = results.SUCCESS
    origin: Origin | None = None
    outputs: tuple[tuple[int, ExpectedOutput], ...] = ()
    died: str = ""
    panic: int | None = None

    def differences(self, step: Step) -> list[str]:
        """One sentence for each thing that is not as expected; none if all is."""
        out: list[str] = []
        died = step.crash.kind if step.crash else ""
        if died != self.died:
            others = [
                f"TA {crash.uuid}, which it called, {_death(crash.kind)}" for crash in step.crashes if crash.caller
            ]
            because = f" ({'; '.join(others)})" if others else ""
            out.append(f"the TA {_death(died)}, expected that it {_death(self.died)}{because}")
        elif step.crash and self.panic is not None and step.crash.code != self.panic:
            out.append(f"panic code {step.crash.code:#x}, expected {self.panic:#x}")
        if not self.died and not died:
            if step.result != self.result:
                out.append(f"result {step.result}, expected {self.result}")
            if self.origin is not None and step.origin is not self.origin:
                out.append(f"origin {step.origin.name}, expected {self.origin.name}")
        if not out:
            for index, expected in self.outputs:
                param = step.params[index] if index < len(step.params) else None
                difference = expected.difference(param)
                if difference:
                    out.append(f"parameter {index}: {difference}")
        return out


class ExpectedOutput(NamedTuple):
    """One of the three is set; none: anything goes."""

    words: tuple[int, int] | None = None
    data: bytes | None = None
    size: int | None = None

    def difference(self, param: Param) -> str:
        """ "" if it is as expected."""
        if self.words is not None:
            if not isinstance(param, Value):
                return "is no value"
            got = (param.a, param.b)
            return "" if got == self.words else f"value {got[0]:#x},{got[1]:#x}, expected {_words(self.words)}"
        if self.data is None and self.size is None:
            return ""
        if param is None or isinstance(param, Value):
            return "is no memref"
        return self._memory(param)

    def _memory(self, param: Memref) -> str:
        from ta_loader.cli.output import memref_bytes

        if self.size is not None:
            return "" if param.size == self.size else f"{param.size} bytes, expected {self.size}"
        assert self.data is not None
        got = memref_bytes(param)
        if len(got) == param.size and got == self.data:
            return ""
        return f"{param.size} bytes {_short(got)}, expected {len(self.data)} bytes {_short(self.data)}"


def _words(words: tuple[int, int]) -> str:
    return f"{words[0]:#x},{words[1]:#x}"


def _short(data: bytes) -> str:
    return data[:_SHOWN].hex() + ("..." if len(data) > _SHOWN else "")


def _death(kind: str) -> str:
    return {"": "survives", "panic": "panics", "limit": "is stopped at a limit", "killed": "is killed"}.get(
        kind, f"dies of a {kind}"
    )


def read_expectation(row: dict[str, Any], folder: str, read: Read = read_named) -> Expectation:
    """Of a step's table; files are relative to `folder`. read: gives their bytes. UsageError."""
    died = text_of(row, "died", "")
    panic: int | None = None
    if died and died not in _DEATHS:
        raise UsageError(f"died is one of {', '.join(_DEATHS)}")
    if "panic" in row:
        if died not in ("", "panic"):
            raise UsageError(f"panic and died = {died!r} exclude each other")
        died = "panic"
        panic = None if row["panic"] is True else _code(row, "panic", "true, or the code it must have,")
    return Expectation(
        result=_result(row),
        origin=_origin(row.get("origin")),
        outputs=_outputs(row.get("outputs", {}), folder, read),
        died=died,
        panic=panic,
    )


def _code(row: dict[str, Any], key: str, what: str) -> int:
    """A TEE_Result, which a panic code is as well: 32 bits."""
    value = row[key]
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{key} is {what} not {value!r}")
    if not 0 <= value <= _U32:
        raise UsageError(f"{key} = {value} is not between 0 and {_U32:#x}")
    return value


def _result(row: dict[str, Any]) -> Result:
    """A number, or a name with or without its TEE_ERROR_ prefix."""
    value = row.get("result", "TEE_SUCCESS")
    if not isinstance(value, str):
        return Result(_code(row, "result", "a number, or a name like TEE_ERROR_BAD_PARAMETERS,"))
    for known in vars(results).values():
        if isinstance(known, Result) and value in (known.name, known.name.removeprefix("TEE_ERROR_")):
            return known
    raise UsageError(f"result {value!r} is neither a number nor a name like TEE_ERROR_BAD_PARAMETERS")


def _origin(value: object) -> Origin | None:
    if value is None:
        return None
    if isinstance(value, str) and value in Origin.__members__:
        return Origin[value]
    raise UsageError(f"origin is one of {', '.join(Origin.__members__)}")


def _outputs(value: object, folder: str, read: Read) -> tuple[tuple[int, ExpectedOutput], ...]:
    rows = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(rows, dict):
        raise UsageError('outputs is a list, or a table of parameter number to output: { 1 = "hex:00" }')
    out: list[tuple[int, ExpectedOutput]] = []
    for key, text in rows.items():
        index = integer(str(key), "outputs", 0, MAX_PARAMS - 1)
        if not isinstance(text, str):
            raise UsageError(f"outputs: {text!r} is no string")
        out.append((index, parse_output(text, folder, read)))
    return tuple(out)


def parse_output(text: str, folder: str = "", read: Read = read_named) -> ExpectedOutput:
    """UsageError says which forms there are."""
    head, _, rest = text.partition(":")
    if text in ("any", "none", ""):
        return ExpectedOutput()
    if head == "value":
        a, _, b = rest.partition(",")
        return ExpectedOutput(words=(integer(a, text, 0, _U32), integer(b, text, 0, _U32) if b else 0))
    if head == "size":
        return ExpectedOutput(size=size(rest, text, MAX_MEMREF))
    if head in ("hex", "str", "zero"):
        return ExpectedOutput(data=read_data(text, text))
    if text.startswith("@"):
        return ExpectedOutput(data=read_data("@" + os.path.join(folder, text[1:]), text, read))
    raise UsageError(f"output {text!r}: write value:A,B, hex:00ff, str:text, zero:N, @FILE, size:N or any")
