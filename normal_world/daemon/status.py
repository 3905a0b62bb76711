"""What the daemon is doing, as JSON-able data, and how to ask it."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from normal_world.daemon.limits import OTHER_RESULTS
from normal_world.daemon.programs import program_of
from normal_world.protocol import HANDLE, REPLY, VERSION, Op
from normal_world.serving import require_trusted
from south.errors import UsageError
from south.linux_host.log import STDERR
from tee.abi.results import Result

if TYPE_CHECKING:
    from normal_world.daemon.context import Context
    from normal_world.daemon.logins import Peer
    from normal_world.daemon.server import Server

TEXT_MAX = 64 << 20
"""Bytes; no status is longer."""
_TIMEOUT = 10.0
"""Seconds that the daemon may take to answer."""


def snapshot(server: Server, peer: Peer | None = None) -> dict[str, Any]:
    """peer: who asks; contexts of other users are shown to root and the daemon's own user alone. Times: seconds."""
    everything = peer is None or peer.uid in (0, os.geteuid())
    with server.lock:
        contexts = list(server.contexts.values())
        connections = list(server.connections)
        opens = dict(server.opens)
        totals = {"calls": server.calls, "errors": server.errors, "seconds": server.seconds}
    for connection in connections:
        totals["calls"] += connection.calls
        totals["errors"] += connection.errors
        totals["seconds"] += connection.seconds
    programs: dict[int, str] = {}
    mine = [c for c in contexts if everything or (peer is not None and c.peer.uid == peer.uid)]
    out: dict[str, Any] = {
        "version": VERSION,
        "pid": os.getpid(),
        "uptime": round(time.monotonic() - server.started, 3),
        "contexts": [_context(context, programs) for context in mine],
        "users": [
            {"uid": uid, **holding._asdict()}
            for uid, holding in server.users.snapshot()
            if everything or (peer is not None and uid == peer.uid)
        ],
        "opens": {_result_name(result): count for result, count in sorted(opens.items())},
        "refused": server.users.refused,
        "log_lost": STDERR.lost,
        "instances": [],
        "connections": len(connections),
        "totals": totals,
        "bugs": server.bugs + server.world.bugs,
    }
    out["totals"]["seconds"] = round(totals["seconds"], 6)
    if everything:
        out["instances"] = [
            {
                "uuid": str(instance.uuid),
                "references": instance.references,
                "flags": instance.flags,
                "memory": instance.space.used,
                "dead": instance.dead is not None,
            }
            for instance in server.world.alive()
        ]
    return out


def _result_name(result: int) -> str:
    return "other" if result == OTHER_RESULTS else Result(result).name


def _context(context: Context, programs: dict[int, str]) -> dict[str, Any]:
    """programs: those that are known already, by pid: a process may have hundreds of contexts."""
    pid = context.peer.pid
    if pid not in programs:
        programs[pid] = program_of(pid) or ""
    return {
        "pid": pid,
        "uid": context.peer.uid,
        "exe": programs[pid],
        "age": round(time.monotonic() - context.started, 3),
        "connections": context.connections,
        "sessions": [{"id": number, "uuid": str(uuid)} for number, (_, uuid) in context.sessions.copy().items()],
        "shm": {"objects": len(context.objects), "bytes": context.memory_bytes},
        "calls_in_flight": len(context.calls),
    }


def fetch(path: str) -> dict[str, Any]:
    """Ask the daemon at `path`. UsageError if none answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_TIMEOUT)
        try:
            sock.connect(path)
            require_trusted(sock)
            sock.send(HANDLE.pack(VERSION, Op.STATUS, HANDLE.size, 0, 0))
            reply, fds, _, _ = socket.recv_fds(sock, REPLY.size, 1)
        except OSError as problem:
            raise UsageError(f"no daemon answers at {path}: {problem.strerror or problem}") from None
    try:
        if len(reply) != REPLY.size:
            raise UsageError(f"the daemon at {path} speaks another protocol")
        _, _, _, result, _, _, _, size, *_ = REPLY.unpack(reply)
        if result or not fds or size > TEXT_MAX:
            raise UsageError(f"the daemon at {path} answered {Result(result)}")
        found: dict[str, Any] = json.loads(os.pread(fds[0], size, 0))
        return found
    finally:
        for fd in fds:
            os.close(fd)


def lines(status: dict[str, Any]) -> list[str]:
    """For a person."""
    totals = status["totals"]
    out = [
        f"daemon {status['pid']}, up {status['uptime']:.0f} s: {totals['calls']} calls, {totals['errors']} errors, "
        f"{totals['seconds']:.3f} s in calls"
    ]
    failed = {name: count for name, count in status.get("opens", {}).items() if name != "TEE_SUCCESS"}
    if failed:
        out.append("sessions not opened: " + ", ".join(f"{name} {count}" for name, count in failed.items()))
    if status.get("refused"):
        out[0] += f", {status['refused']} times more than a user may have was asked for"
    if status.get("log_lost"):
        out.append(f"{status['log_lost']} pieces of log could not be written to the daemon's standard error")
    for context in status["contexts"]:
        shm = context["shm"]
        out.append(
            f"client pid {context['pid']} uid {context['uid']} {context['exe']}: "
            f"{len(context['sessions'])} sessions, {shm['objects']} shared objects ({shm['bytes']} bytes), "
            f"{context['calls_in_flight']} calls in flight"
        )
        out += [f"  session {session['id']} {session['uuid']}" for session in context["sessions"]]
    for instance in status["instances"]:
        dead = ", dead" if instance["dead"] else ""
        out.append(
            f"instance {instance['uuid']}: {instance['references']} sessions, {instance['memory']} bytes of private "
            f"memory, flags {instance['flags']:#x}{dead}"
        )
    return out
