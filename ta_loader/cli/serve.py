"""`litebox-ta serve`: a daemon that serves TAs to clients over a Unix socket."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NamedTuple

from normal_world.protocol import default_socket
from south.errors import UsageError
from south.linux_host.log import STDERR, Log
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option, integer, seconds, size
from ta_loader.cli.world_options import WORLD_OPTIONS, read_setup

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from normal_world.daemon.limits import ClientLimits
    from normal_world.daemon.listen import Listener
    from normal_world.daemon.server import Server
    from normal_world.host.compose import Host
    from normal_world.host.setup import Setup
    from normal_world.supplicant.services import ServiceOptions
    from ta_loader.cli.options import Arguments

MAX_COUNT = 1 << 20
LOG_PATIENCE = 1.0
"""Seconds that a client's call waits for whoever reads the log, once."""

PLUGIN_OPTIONS = (
    Option("--plugin-dir", "DIR", "folder of tee-supplicant plugins, <uuid>.plugin", many=True),
    Option("--plugin-timeout", "SECONDS", "of one call of a plugin (default 30)"),
)


class Plan(NamedTuple):
    """The command line, understood. mode: of the socket; spin: microseconds; deadline and grace: seconds."""

    path: str
    mode: int
    group: int | None
    limits: ClientLimits
    spin: int
    grace: float
    deadline: float
    ready_fd: int | None
    report_fd: int | None
    sandbox: bool


def read_plan(arguments: Arguments) -> Plan:
    from normal_world.daemon.limits import ClientLimits
    from normal_world.daemon.listen import MODE
    from normal_world.daemon.server import DEADLINE, SPIN_US
    from normal_world.daemon.watcher import GRACE

    normal = ClientLimits()

    def count(option: str, default: int, high: int = MAX_COUNT, low: int = 1) -> int:
        text = arguments.one(option)
        return default if text is None else integer(text, option, low, high)

    def time(option: str, default: float) -> float:
        text = arguments.one(option)
        return default if text is None else seconds(text, option)

    memory = arguments.one("--max-shm")
    user_memory = arguments.one("--max-user-shm")
    calls = arguments.one("--max-user-calls")
    one = ClientLimits(
        sessions=count("--max-sessions", normal.sessions),
        memory=normal.memory if memory is None else size(memory, "--max-shm"),
        objects=count("--max-shm-objects", normal.objects),
        connections=count("--max-connections", normal.connections),
    )
    # Whoever raises what one client may have means its user, too.
    limits = one._replace(
        user_sessions=count("--max-user-sessions", max(normal.user_sessions, one.sessions)),
        user_memory=max(normal.user_memory, one.memory) if user_memory is None else size(user_memory, "--max-user-shm"),
        user_objects=count("--max-user-shm-objects", max(normal.user_objects, one.objects)),
        user_connections=count("--max-user-connections", max(normal.user_connections, one.connections)),
        user_calls=None if calls is None else integer(calls, "--max-user-calls", 1, MAX_COUNT),
    )
    ready, report = arguments.one("--ready-fd"), arguments.one("--report-fd")
    return Plan(
        path=arguments.one("--socket") or default_socket(),
        mode=_mode(arguments.one("--mode"), MODE),
        group=_group(arguments.one("--group")),
        limits=limits,
        spin=count("--spin", SPIN_US, 10_000, 0),
        grace=time("--grace", GRACE),
        deadline=time("--deadline", DEADLINE),
        report_fd=None if report is None else integer(report, "--report-fd", 0, MAX_COUNT),
        ready_fd=None if ready is None else integer(ready, "--ready-fd", 0, MAX_COUNT),
        sandbox=not arguments.switch("--no-sandbox"),
    )


def _mode(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise UsageError(f"--mode {text}: write it in octal, as 0660")
    return mode


def _group(text: str | None) -> int | None:
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    import grp

    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise UsageError(f"--group {text}: this host has no such group") from None


def run(arguments: Arguments) -> int:
    from normal_world.daemon.server import Server
    from normal_world.host.daemon import DaemonHost

    plan = read_plan(arguments)
    STDERR.patience = LOG_PATIENCE
    setup = read_setup(arguments)
    services = _services(arguments, setup)
    listener, sockets = _listeners(plan)
    try:
        with DaemonHost(setup, services, _report_to(plan.report_fd)) as host:
            _harden(plan, setup, services, host, listener)
            server = Server(
                host.world, sockets, limits=plan.limits, spin_us=plan.spin, grace=plan.grace, deadline=plan.deadline
            )
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: _stop(server))
            _announce(plan, listener)
            ended = server.serve()
            if listener is not None:
                listener.remove()
            if not ended:
                # A service of the host holds a call: to close its session would be to wait for it.
                STDERR.write("litebox-ta: calls are under way that do not end\n")
                os._exit(exits.TA_ERROR)
    finally:
        if listener is not None:
            listener.remove()
    return exits.OK


def _services(arguments: Arguments, setup: Setup) -> ServiceOptions:
    from normal_world.supplicant.services import ServiceOptions

    limit = arguments.one("--plugin-timeout")
    sysroot = arguments.one("--sysroot")
    if sysroot is not None and not os.path.isdir(sysroot):
        raise UsageError(f"--sysroot {sysroot}: no such folder")
    return ServiceOptions(
        sockets=arguments.one("--sockets") or "off",
        plugin_dirs=tuple(arguments.many("--plugin-dir")),
        state=setup.state,
        sysroot=sysroot,
        plugin_seconds=None if limit is None else seconds(limit, "--plugin-timeout"),
    )


def _listeners(plan: Plan) -> tuple[Listener | None, list[socket.socket]]:
    """Those the service manager holds for us, else our own."""
    if "LISTEN_FDS" in os.environ:
        from south.linux_host.systemd import listen_fds

        try:
            given = listen_fds()
        except ValueError as problem:
            raise UsageError(str(problem)) from None
        if given:
            return None, given
    from normal_world.daemon.listen import listen

    listener = listen(plan.path, plan.mode, plan.group)
    return listener, [listener.socket]


def _harden(plan: Plan, setup: Setup, services: ServiceOptions, host: Host, listener: Listener | None) -> None:
    """Give up, for good, what a running daemon does not need: before its threads start, for they inherit it."""
    from normal_world.daemon.sandbox import existing, restrict
    from south.linux_host.state import default_state_folder

    # Made on first use, by a link that nobody may make later.
    host.platform.root_of_trust.hardware_unique_key()
    if not plan.sandbox:
        STDERR.write("hardening: none (--no-sandbox)\n")
        return
    write = [services.state or default_state_folder()]
    if setup.trace_out is not None:
        write.append(os.path.dirname(setup.trace_out) or ".")
    if setup.profile_dir is not None:
        write.append(setup.profile_dir)
    report = restrict(
        (*host.store.dirs, *setup.trust, *setup.elf),
        existing(write),
        sockets=services.sockets != "off",
        unlink=() if listener is None else (os.path.dirname(plan.path) or ".",),
    )
    STDERR.write(report.line() + "\n")


def _report_to(descriptor: int | None) -> Callable[[str], None] | None:
    if descriptor is None:
        return None
    try:
        stream = os.fdopen(descriptor, "w", errors="backslashreplace")
    except OSError as problem:
        raise UsageError(f"--report-fd {descriptor}: {problem.strerror}") from None
    return Log(lambda: stream, LOG_PATIENCE).write


def _stop(server: Server) -> None:
    """From a signal handler."""
    from south.linux_host.systemd import stopping

    stopping("calls under way are finished or cancelled")
    server.stop()


def _announce(plan: Plan, listener: Listener | None) -> None:
    where = plan.path if listener is not None else "the service manager's socket"
    STDERR.write(f"listening on {where}\n")
    from south.linux_host.systemd import ready

    ready(f"listening on {where}")
    if plan.ready_fd is not None:
        try:
            os.write(plan.ready_fd, b"\n")
            os.close(plan.ready_fd)
        except OSError as problem:
            raise UsageError(f"--ready-fd {plan.ready_fd}: {problem.strerror}") from None


EPILOG = """\
Clients are programs that use libteec, or Python's normal_world; they find the daemon by $LITEBOX_SOCKET,
else $XDG_RUNTIME_DIR/litebox/tee.sock, else /run/litebox/tee.sock. SIGTERM ends it: calls under way are
finished, or cancelled within the deadline.

examples:
  litebox-ta serve --trust kit/ --ta-dir tas
  litebox-ta serve --socket /tmp/tee.sock --mode 0600 --sockets loopback"""

COMMAND = Command(
    name="serve",
    summary="Serve TAs to clients (libteec, Python) over a Unix socket.",
    words=(),
    options=(
        Option("--socket", "PATH", "where to listen (default: $LITEBOX_SOCKET, the user's, the system's)"),
        Option("--mode", "MODE", "permissions of the socket, octal (default: 0660)"),
        Option("--group", "NAME", "group of the socket (default: the daemon's)"),
        *WORLD_OPTIONS,
        Option("--sockets", "POLICY", "where TAs may connect to: off (default), loopback, or HOST:PORT,..."),
        *PLUGIN_OPTIONS,
        Option("--sysroot", "ROOT", "libraries of another machine, for plugins that are for it"),
        Option("--max-sessions", "N", "sessions of one client (default 64)"),
        Option("--max-shm", "SIZE", "shared memory of one client (default 256M)"),
        Option("--max-shm-objects", "N", "shared memory objects of one client (default 1024)"),
        Option("--max-connections", "N", "connections, and so calls at once, of one client (default 64)"),
        Option("--max-user-sessions", "N", "sessions of all clients of one user (default 512)"),
        Option("--max-user-shm", "SIZE", "shared memory of all clients of one user (default 1G)"),
        Option("--max-user-shm-objects", "N", "shared memory objects of all clients of one user (default 4096)"),
        Option("--max-user-connections", "N", "connections of all clients of one user (default 512)"),
        Option("--max-user-calls", "N", "calls of one user that compute at once (default 4 for each processor)"),
        Option("--spin", "US", "microseconds to poll for the next request before blocking (default 30)"),
        Option("--grace", "SECONDS", "until a TA is stopped whose client has died (default 2)"),
        Option("--deadline", "SECONDS", "for calls under way when the daemon is to end (default 5)"),
        Option("--ready-fd", "N", "write one byte to this file descriptor when listening"),
        Option("--report-fd", "N", "write refusals and crashes of TAs to this file descriptor, too"),
        Option("--no-sandbox", "", "keep privileges, paths and system calls that a running daemon does not need"),
        Option("-q, --quiet", "", "no TA log"),
    ),
    run=run,
    epilog=EPILOG,
)
