"""Metrics against the format's grammar, as the documentation of Prometheus words it."""

from __future__ import annotations

import math
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from normal_world.daemon.metrics import render

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
HELP = re.compile(rf"# HELP ({NAME}) ((?:[^\\\n]|\\[\\n])*)")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram|summary|untyped)")
SAMPLE = re.compile(
    rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (NaN|[+-]Inf|[+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
)

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]

SNAPSHOT: dict[str, Any] = {
    "uptime": 12.5,
    "contexts": [
        {
            "pid": 7,
            "uid": 1000,
            "exe": '/opt/a "b"\\c\nd',
            "sessions": [{"id": 1, "uuid": "u"}, {"id": 2, "uuid": "u"}],
            "shm": {"objects": 3, "bytes": 4096},
            "calls_in_flight": 1,
        },
        {"pid": 8, "uid": 0, "exe": None, "sessions": [], "shm": {"objects": 0, "bytes": 0}, "calls_in_flight": 0},
    ],
    "instances": [
        {"uuid": "3df06738", "references": 1, "memory": 100},
        {"uuid": "3df06738", "references": 2, "memory": 50},
    ],
    "connections": 4,
    "bugs": 1,
    "totals": {"calls": 10, "errors": 2, "seconds": 0.25},
}


def parse(text: str) -> tuple[Series, dict[str, str]]:
    """Strictly: HELP, TYPE, then that metric's samples, each series once, a newline at the end of every line."""
    assert text == "" or text.endswith("\n")
    series: Series = {}
    types: dict[str, str] = {}
    described = current = ""
    for line in text.split("\n")[:-1]:
        if (found := HELP.fullmatch(line)) is not None:
            described = found[1]
            assert described not in types, "a metric's lines stand together"
        elif (found := TYPE.fullmatch(line)) is not None:
            current = found[1]
            assert current == described
            types[current] = found[2]
        else:
            found = SAMPLE.fullmatch(line)
            assert found is not None, line
            assert found[1] == current
            labels = tuple(
                (name, re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), value))
                for name, value in re.findall(LABEL, found[2] or "")
            )
            assert len(dict(labels)) == len(labels)
            key = (found[1], tuple(sorted(labels)))
            assert key not in series
            series[key] = float(found[7])
    return series, types


def test_numbers() -> None:
    series, types = parse(render(SNAPSHOT))
    client = (("exe", '/opt/a "b"\\c\nd'), ("pid", "7"), ("uid", "1000"))
    assert series["litebox_uptime_seconds", ()] == 12.5
    assert series["litebox_contexts", ()] == 2
    assert series["litebox_connections", ()] == 4
    assert series["litebox_internal_errors_total", ()] == 1
    assert series["litebox_sessions", client] == 2
    assert series["litebox_shared_memory_objects", client] == 3
    assert series["litebox_shared_memory_bytes", client] == 4096
    assert series["litebox_calls_in_flight", client] == 1
    assert series["litebox_sessions", (("exe", ""), ("pid", "8"), ("uid", "0"))] == 0
    assert series["litebox_instances", ()] == 2
    assert series["litebox_instance_references", (("uuid", "3df06738"),)] == 3
    assert series["litebox_instance_memory_bytes", (("uuid", "3df06738"),)] == 150
    assert series["litebox_calls_total", ()] == 10
    assert series["litebox_call_errors_total", ()] == 2
    assert series["litebox_call_seconds_total", ()] == 0.25
    assert {name for name, kind in types.items() if kind == "counter"} == {n for n in types if n.endswith("_total")}


def test_nothing_known_is_nothing_said() -> None:
    assert render({}) == ""
    assert parse(render({"contexts": [], "instances": []}))[0] == {
        ("litebox_contexts", ()): 0,
        ("litebox_instances", ()): 0,
    }


_text = st.text(max_size=8) | st.sampled_from(["\ud800", '"', "\\", "\n", "\\n", "}"])
_value = st.none() | st.integers() | st.floats() | _text


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "pid": _value,
                "uid": _value,
                "exe": _value,
                "sessions": _value | st.lists(_value, max_size=2),
                "shm": _value | st.fixed_dictionaries({"objects": _value, "bytes": _value}),
                "calls_in_flight": _value,
            },
        ),
        max_size=3,
    ),
    _value,
)
def test_any_snapshot_keeps_to_the_grammar(contexts: list[dict[str, Any]], number: object) -> None:
    series, _ = parse(render({"contexts": contexts, "uptime": number, "totals": {"calls": number}}))
    assert series["litebox_contexts", ()] == len(contexts)
    if isinstance(number, float) and math.isfinite(number):
        assert series["litebox_uptime_seconds", ()] == number
