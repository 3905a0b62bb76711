"""The daemon's state as metrics: Prometheus' text exposition format, version 0.0.4.

Source: "Exposition formats" of the Prometheus documentation. Rendered from the dictionary that
`litebox-ta status --json` prints, so the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

PREFIX = "litebox_"

Labels = Mapping[str, object]
Sample = tuple[Labels, float]


class Family(NamedTuple):
    """One metric: all its samples stand together, below its HELP and TYPE."""

    name: str
    kind: str
    help: str
    samples: list[Sample]


def render(snapshot: Mapping[str, Any]) -> str:
    """The whole exposition. What the snapshot does not have is left out, not told as nought."""
    return "".join(_family(family) for family in _families(snapshot) if family.samples)


def _families(snapshot: Mapping[str, Any]) -> list[Family]:
    contexts = _list(snapshot.get("contexts"))
    instances = _list(snapshot.get("instances"))
    clients = _by_labels(contexts, ("pid", "uid", "exe"))
    tas = _by_labels(instances, ("uuid",))
    users = _by_labels(_list(snapshot.get("users")), ("uid",))
    totals = _mapping(snapshot.get("totals"))
    return [
        Family("uptime_seconds", "gauge", "Seconds since the daemon was started.", _one(snapshot, "uptime")),
        _count("contexts", "Clients that are connected.", snapshot, "contexts", contexts),
        Family("connections", "gauge", "Connections of all clients.", _one(snapshot, "connections")),
        Family("sessions", "gauge", "Sessions that a client has open.", _sum(clients, _sessions)),
        Family("shared_memory_objects", "gauge", "Shared memory objects of a client.", _sum(clients, _shm("objects"))),
        Family("shared_memory_bytes", "gauge", "Bytes of shared memory of a client.", _sum(clients, _shm("bytes"))),
        Family("calls_in_flight", "gauge", "Calls of a client that run.", _sum(clients, _field("calls_in_flight"))),
        _count("instances", "Instances of trusted applications.", snapshot, "instances", instances),
        Family("instance_references", "gauge", "Sessions to instances of a TA.", _sum(tas, _field("references"))),
        Family("instance_memory_bytes", "gauge", "Memory of a TA's instances.", _sum(tas, _field("memory"))),
        Family("calls_total", "counter", "Calls that were answered.", _one(totals, "calls")),
        Family("call_errors_total", "counter", "Calls that were answered with an error.", _one(totals, "errors")),
        Family("call_seconds_total", "counter", "Seconds that answered calls took.", _one(totals, "seconds")),
        Family(
            "session_opens_total",
            "counter",
            "Sessions that were asked for, by what came of it.",
            [({"result": name}, count) for name, count in _mapping(snapshot.get("opens")).items()],
        ),
        Family("user_connections", "gauge", "Connections of a user.", _sum(users, _field("connections"))),
        Family("user_sessions", "gauge", "Sessions of a user.", _sum(users, _field("sessions"))),
        Family(
            "user_shared_memory_objects", "gauge", "Shared memory objects of a user.", _sum(users, _field("objects"))
        ),
        Family("user_shared_memory_bytes", "gauge", "Bytes of shared memory of a user.", _sum(users, _field("memory"))),
        Family("user_limits_met_total", "counter", "Requests beyond what a user may have.", _one(snapshot, "refused")),
        Family("log_lost_total", "counter", "Pieces of log that could not be written.", _one(snapshot, "log_lost")),
        Family(
            "internal_errors_total", "counter", "Faults of the daemon's own: please report.", _one(snapshot, "bugs")
        ),
    ]


def _list(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) else None


def _one(source: Mapping[str, Any], *keys: str) -> list[Sample]:
    values = (_number(source.get(key)) for key in keys)
    return [({}, value) for value in values if value is not None]


def _count(name: str, text: str, snapshot: Mapping[str, Any], key: str, entries: list[Mapping[str, Any]]) -> Family:
    return Family(name, "gauge", text, [({}, len(entries))] if key in snapshot else [])


Groups = list[tuple[dict[str, object], list[Mapping[str, Any]]]]


def _by_labels(entries: list[Mapping[str, Any]], names: tuple[str, ...]) -> Groups:
    """Two contexts of one process, or two instances of one TA, would be the same series twice: they are added up."""
    groups: dict[tuple[str, ...], tuple[dict[str, object], list[Mapping[str, Any]]]] = {}
    for entry in entries:
        labels = {name: "" if entry.get(name) is None else entry[name] for name in names}
        groups.setdefault(tuple(map(str, labels.values())), (labels, []))[1].append(entry)
    return list(groups.values())


def _sum(groups: Groups, value: Any) -> list[Sample]:
    samples: list[Sample] = []
    for labels, entries in groups:
        values = [number for number in map(value, entries) if number is not None]
        if values:
            samples.append((labels, sum(values)))
    return samples


def _sessions(entry: Mapping[str, Any]) -> float | None:
    sessions = entry.get("sessions")
    return len(sessions) if isinstance(sessions, list) else _number(sessions)


def _shm(key: str) -> Any:
    return lambda entry: _number(_mapping(entry.get("shm")).get(key))


def _field(key: str) -> Any:
    return lambda entry: _number(entry.get(key))


def _family(family: Family) -> str:
    name = PREFIX + family.name
    lines = [f"# HELP {name} {_escape_help(family.help)}", f"# TYPE {name} {family.kind}"]
    lines += [f"{name}{_labels(labels)} {_value(value)}" for labels, value in family.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(str(value))}"' for name, value in labels.items()) + "}"


def _escape(text: str) -> str:
    """A path may hold any byte but NUL; what is no character (surrogateescape) becomes one that can be sent."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _value(value: float) -> str:
    """Go's float syntax; Python's repr is within it but for the names of what is no finite number."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if isinstance(value, int) else repr(value)
