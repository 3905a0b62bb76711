"""The daemon: accepts clients, gives each connection a thread, and knows all contexts."""

from __future__ import annotations

import os
import resource
import select
import socket
import threading
import time
from typing import TYPE_CHECKING

from normal_world._transport import lib
from normal_world.daemon.capacity import of_host
from normal_world.daemon.connection import Connection
from normal_world.daemon.context import Context
from normal_world.daemon.limits import OTHER_RESULTS, ClientLimits, over
from normal_world.daemon.logins import read_peer
from normal_world.daemon.memory import ClientMemory
from normal_world.daemon.users import Users
from normal_world.daemon.watcher import GRACE, Watcher
from normal_world.protocol import NO_TOKEN, TOKEN_SIZE
from tee.abi import results
from tee.abi.results import Origin, Result
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normal_world.daemon.capacity import Capacity
    from normal_world.daemon.logins import Peer
    from normal_world.daemon.users import User
    from tee.world import SecureWorld

SPIN_US = 30
"""Microseconds a thread polls for the next request before it blocks."""
DEADLINE = 5.0
"""Seconds that calls under way are given when the daemon is asked to stop."""
SURPLUS = 16
"""Connections of a user above the limit that are told so; others are closed without a word."""
OPEN_RESULTS = 64
"""Results of opening sessions that are counted each for itself: TAs may return any of 4 billion."""
_LAST_WAIT = 0.5
"""Seconds for threads to see that their connection is no more."""
_BACKOFF = 0.05
"""Seconds until the next attempt when the process has no file descriptor left."""


class Server:
    """listeners: bound and listening SEQPACKET sockets. capacity: for all users together, None: what the host gives.
    spin_us: microseconds; grace, deadline: seconds.
    """

    def __init__(
        self,
        world: SecureWorld,
        listeners: Sequence[socket.socket],
        *,
        limits: ClientLimits | None = None,
        capacity: Capacity | None = None,
        spin_us: int = SPIN_US,
        grace: float = GRACE,
        deadline: float = DEADLINE,
    ) -> None:
        self.world = world
        self.limits = limits or ClientLimits()
        self.listeners = list(listeners)
        self.deadline = deadline
        self.started = time.monotonic()
        processors = len(os.sched_getaffinity(0))
        self.spin_us = spin_us if processors > 1 else 0
        lib.lb_exchange_processors(processors)
        _raise_file_limit()
        self.users = Users(self.limits, capacity or of_host())
        self.memory = ClientMemory(world.forget)
        self.watcher = Watcher(grace)
        self.lock = threading.Lock()
        self.contexts: dict[bytes, Context] = {}
        self.connections: set[Connection] = set()
        self.calls = 0
        self.errors = 0
        self.seconds = 0.0
        self.bugs = 0
        self.opens: dict[int, int] = {}
        """How many sessions were asked for, by result."""
        self._stopping = False
        self._idle = threading.Condition(self.lock)
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    # --- life

    def serve(self) -> bool:
        """Accept until `stop`, then end what is under way, within the deadline. False: something did not end."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        listeners = {listener.fileno(): listener for listener in self.listeners}
        for fd, listener in listeners.items():
            listener.setblocking(False)
            poll.register(fd, select.POLLIN)
        stopping = False
        while not stopping:
            for fd, _ in poll.poll():
                if fd == self._bell:
                    stopping = True
                else:
                    self._accept(listeners[fd])
        return self._wind_up()

    def stop(self) -> None:
        """From any thread, and from a signal handler."""
        if not self._stopping:
            self._stopping = True
            os.eventfd_write(self._bell, 1)

    def _wind_up(self) -> bool:
        for listener in self.listeners:
            listener.close()
        # Whoever waits for a request sees the end of them; a call under way can still be answered.
        self._shut(socket.SHUT_RD)
        idle = self._wait_idle(self.deadline / 2)
        if not idle:
            with self.lock:
                connections = list(self.connections)
            for connection in connections:
                cancellation = connection.cancellation
                if cancellation is not None:
                    self.watcher.condemn(cancellation, self.deadline / 2)
            idle = self._wait_idle(self.deadline / 2 + self.watcher.grace + 1)
        if not idle:
            self._shut(socket.SHUT_RDWR)  # clients that do not take their answers
            idle = self._wait_idle(_LAST_WAIT)
        self.watcher.stop()
        os.close(self._bell)
        return idle

    def _shut(self, how: int) -> None:
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            try:
                connection.socket.shutdown(how)
            except OSError:
                pass

    def _wait_idle(self, seconds: float) -> bool:
        with self.lock:
            return self._idle.wait_for(lambda: not self.connections, seconds)

    # --- connections

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError:
            time.sleep(_BACKOFF)
            return
        try:
            peer = read_peer(client)
        except OSError:
            client.close()
            return
        client.setblocking(True)
        user, surplus = self.users.connect(peer.uid)
        if surplus > SURPLUS:
            self.users.disconnect(user)
            peer.close()
            client.close()
            return
        connection = Connection(self, client, peer, user)
        connection.surplus = surplus > 0
        with self.lock:
            self.connections.add(connection)
        self.watcher.add(connection)
        try:
            threading.Thread(target=self._run, args=(connection,), name=f"client-{peer.pid}", daemon=True).start()
        except RuntimeError:  # the host has no thread left
            self._leave(connection)

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        except Exception as bug:
            self.report_bug(bug)
        finally:
            self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        context, connection.context = connection.context, None
        ended = False
        with self.lock:
            if context is not None:
                context.connections -= 1
                ended = not context.connections
                if ended:
                    del self.contexts[context.token]
        try:
            # Closed first: a client that waits for its connection's end need not wait for its sessions'.
            self.watcher.close(connection)
            connection.peer.close()
            if ended and context is not None:
                calls = connection.user.calls
                calls.enter(connection, patient=True)
                try:
                    with connection.user.requests.passed():
                        context.close()
                finally:
                    calls.leave(connection)
        except Exception as bug:
            self.report_bug(bug)
        with self.lock:
            self.calls += connection.calls
            self.errors += connection.errors
            self.seconds += connection.seconds
            self.connections.discard(connection)
            self._idle.notify_all()
        self.users.disconnect(connection.user)

    def attach(self, peer: Peer, user: User, token: bytes) -> Context:
        """The context that `token` names, or a new one. TeeError(ACCESS_DENIED) if it is not the peer's to use."""
        with self.lock:
            if token == NO_TOKEN:
                token = os.urandom(TOKEN_SIZE)
                context = Context(token, peer, user, self.world, self.memory, self.watcher, self.limits)
                self.contexts[token] = context
            else:
                found = self.contexts.get(token)
                if found is None or found.peer.uid != peer.uid:
                    raise TeeError(results.ACCESS_DENIED, "no such context", Origin.COMMS)
                if found.connections >= self.limits.connections:
                    raise over(f"{self.limits.connections} connections")
                context = found
            context.connections += 1
            return context

    # --- telling others

    def note_open(self, result: int) -> None:
        with self.lock:
            if result not in self.opens and len(self.opens) >= OPEN_RESULTS:
                result = OTHER_RESULTS
            self.opens[result] = self.opens.get(result, 0) + 1

    def report_bug(self, bug: Exception) -> tuple[Result, Origin]:
        """A failure of our own: told to whoever reads the log, GENERIC to the client."""
        import traceback

        self.bugs += 1
        text = "".join(traceback.format_exception(bug))
        self.world.platform.console.write(f"litebox: internal error in the daemon, please report it:\n{text}")
        return results.GENERIC, Origin.TEE


def _raise_file_limit() -> None:
    """A connection costs file descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass
