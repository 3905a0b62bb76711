"""What a call brought back, as text for a person or as JSON for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ta_loader.cli.params import is_output
from tee.params import Kind, Memref, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ta_loader.cli.calls import Step
    from tee.abi.results import Result
    from tee.params import Param

DUMP_BYTES = 4096
"""A dump on a terminal shows no more."""
_ROW = 16
_KINDS = {
    Kind.VALUE_INPUT: "value-in",
    Kind.VALUE_OUTPUT: "value-out",
    Kind.VALUE_INOUT: "value",
    Kind.MEMREF_INPUT: "in",
    Kind.MEMREF_OUTPUT: "out",
    Kind.MEMREF_INOUT: "inout",
}


def result_text(result: Result) -> str:
    """Name and number, or the number alone."""
    return result.name if not result or result.name.startswith("0x") else f"{result.name} (0x{int(result):08x})"


def memref_bytes(param: Memref) -> bytes:
    """What a memref holds now: as much of what the TA reported as was offered."""
    if param.pages is None:
        return b""
    room = param.pages.size - param.offset
    return bytes(param.pages.view(param.offset, max(0, min(param.size, room))))


def step_lines(step: Step) -> Iterable[str]:
    """A step's result and outputs."""
    origin = f", origin {step.origin.name}" if step.result else ""
    yield f"{step.title}: {result_text(step.result)}{origin}"
    for index, param in enumerate(step.params):
        if param is not None and is_output(param.kind) and not step.crash:
            yield from _param_lines(index, param, step.offered[index])


def _param_lines(index: int, param: Value | Memref, offered: int) -> Iterable[str]:
    if isinstance(param, Value):
        yield f"  [{index}] value a={param.a} ({param.a:#x}) b={param.b} ({param.b:#x})"
    elif param.size > offered:
        yield f"  [{index}] memref needs {param.size} bytes, {offered} were offered"
    else:
        yield f"  [{index}] memref {param.size} bytes"
        data = memref_bytes(param)
        yield from ("      " + line for line in hex_dump(data[:DUMP_BYTES]))
        if len(data) > DUMP_BYTES:
            yield f"      ... {len(data) - DUMP_BYTES} bytes more; --out FILE keeps all"


def hex_dump(data: bytes) -> Iterable[str]:
    """Rows of 16 bytes: offset, hexadecimal, ASCII."""
    for at in range(0, len(data), _ROW):
        row = data[at : at + _ROW]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{at:08x}  {row[:8].hex(' '):23}  {row[8:].hex(' '):23}  |{text}|"


def param_json(param: Param, offered: int) -> dict[str, Any]:
    if param is None:
        return {"kind": "none"}
    if isinstance(param, Value):
        return {"kind": _KINDS[param.kind], "a": param.a, "b": param.b}
    out: dict[str, Any] = {"kind": _KINDS[param.kind], "size": param.size}
    if param.pages is None:
        out["null"] = True
    elif is_output(param.kind) and param.size <= offered:
        out["hex"] = memref_bytes(param).hex()
    return out


def step_json(step: Step) -> dict[str, Any]:
    """One object a step; numbers stay numbers, memory is hexadecimal."""
    out: dict[str, Any] = {
        "step": step.kind,
        "ta": str(step.uuid),
        "result": step.result.name,
        "code": int(step.result),
        "origin": step.origin.name,
        "seconds": round(step.seconds, 9),
        "params": [param_json(param, offered) for param, offered in zip(step.params, step.offered, strict=True)],
    }
    if step.kind == "invoke":
        out["command"] = step.command
    if step.problem:
        out["problem"] = step.problem
    if step.crashes:
        from ta_loader.cli.crash import crash_json

        out["crashes"] = [crash_json(crash) for crash in step.crashes]
        if step.crash:
            out["crash"] = crash_json(step.crash)
    return out


def print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2))


def save_outputs(steps: Sequence[Step], files: Sequence[str]) -> None:
    """The n-th file gets the n-th memref output of the whole run, in order; `-` is standard output.

    A file whose call never came is left alone.
    """
    memrefs = (param for step in steps for param in step.params if isinstance(param, Memref) and is_output(param.kind))
    for path, param in zip(files, memrefs, strict=False):
        write_file(path, memref_bytes(param))


def write_file(path: str, data: bytes) -> None:
    """UsageError-worthy failures stay OSError: `main` prints them with the path."""
    import sys

    if path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    from south.replacing import replace

    replace(path, data)
