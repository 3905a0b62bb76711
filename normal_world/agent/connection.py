"""The thread that speaks with the agent: requests of any thread go out, answers find those who wait for them."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from typing import TYPE_CHECKING, Protocol

from normal_world.agent import lines, messages
from normal_world.agent.messages import Answer, Op
from normal_world.agent.stream import Stream
from tee.abi import results
from tee.abi.results import Origin
from tee.errors import TeeError, reason

if TYPE_CHECKING:
    from collections.abc import Sequence

SILENCE = 30.0
"""Seconds without a sign of life after which the agent is taken for gone. It gives up after 60 itself."""
PING = 3.0
"""Seconds of silence after which it is asked for one."""
POLL = 0.5
"""Seconds between looks at the line's health."""
MOST_LINES = 4096
"""Waiting for the thread; more are lost, as on any line."""
QUIT_SECONDS = 10.0


class Line(Protocol):
    """A terminal's line, as a console of a board is one."""

    def write(self, data: bytes) -> None:
        """OSError."""

    def trouble(self) -> str:
        """Why nothing will come any more, "" as far as can be told."""


class Waiting:
    """One request under way. sizes: bytes that its answer may fill of each parameter's memory."""

    def __init__(self, op: Op, sizes: Sequence[int]) -> None:
        self.op = op
        self.sizes = tuple(sizes)
        self.answer: Answer | None = None
        self.done = threading.Event()


class Connection:
    """token: what the agent was started with. silence: seconds.

    `feed` is given every line that comes; TeeError(COMMUNICATION) once the agent or the line is gone.
    """

    def __init__(self, line: Line, token: str, silence: float = SILENCE) -> None:
        self._line = line
        self._seed = lines.seed(token)
        self._silence = silence
        self._queue: queue.Queue[lines.Line | None] = queue.Queue(MOST_LINES)
        self._damaged = threading.Event()
        self._lock = threading.Lock()
        self._requests: list[bytes] = []
        self._waiting: dict[int, Waiting] = {}
        self._ids = itertools.count(1)
        self._lost = ""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tee-agent", daemon=True)
        self._thread.start()

    # --- for the one who reads the line

    def feed(self, text: bytes) -> bool:
        """Whether it was the agent's. text: one line, without its end."""
        try:
            line = lines.parse_line(text, self._seed)
        except lines.DamagedLine:
            self._damaged.set()
            line = None
            whole = False
        else:
            if line is None:
                return False
            whole = True
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            pass
        # A damaged one may have words of the kernel's in it, which belong into a log.
        return whole

    # --- for those who call

    @property
    def lost(self) -> str:
        """Why it is no use any more; "" while it is."""
        return self._lost

    def begin(self, op: Op, body: bytes = b"", sizes: Sequence[int] = ()) -> tuple[int, Waiting]:
        waiting = Waiting(op, sizes)
        with self._lock:
            if self._lost:
                raise self._problem()
            id = next(self._ids)
            self._waiting[id] = waiting
            self._requests.append(messages.request(id, op, body))
        self._wake()
        return id, waiting

    def finish(self, waiting: Waiting) -> Answer:
        waiting.done.wait()
        if waiting.answer is None:
            raise self._problem()
        return waiting.answer

    def ask(self, op: Op, body: bytes = b"", sizes: Sequence[int] = ()) -> Answer:
        return self.finish(self.begin(op, body, sizes)[1])

    def close(self, timeout: float = QUIT_SECONDS) -> None:
        """Ask the agent to end, and stop speaking; no error if it has gone."""
        try:
            _, waiting = self.begin(Op.QUIT)
            waiting.done.wait(timeout)
        except TeeError:
            pass
        self._ending.set()
        self._wake()
        self._thread.join()
        self._lose("it was ended")

    def give_up(self, why: str) -> None:
        """It is known to have ended."""
        self._lose(why)

    def _problem(self) -> TeeError:
        return TeeError(results.COMMUNICATION, f"the TEE agent: {self._lost}", Origin.COMMS)

    # --- the thread

    def _wake(self) -> None:
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            pass

    def _run(self) -> None:
        try:
            self._speak()
        except OSError as problem:
            self._lose(f"the line: {reason(problem)}")
        except messages.BadMessage as problem:
            self._lose(f"it does not keep to the protocol: {problem}")
        except BaseException as problem:
            self._lose(f"{type(problem).__name__}: {problem}")
            raise

    def _speak(self) -> None:
        stream = Stream(lambda line: self._line.write(lines.format_line(line, self._seed)))
        assembler = messages.Assembler()
        heard = asked = looked = time.monotonic()
        while not self._ending.is_set() and not self._lost:
            with self._lock:
                requests, self._requests = self._requests, []
            for one in requests:
                stream.put(one)
            now = time.monotonic()
            again = stream.work(now)
            line = self._next(min(POLL, POLL if again is None else max(0.0, again - now)))
            now = time.monotonic()
            if self._damaged.is_set():
                self._damaged.clear()
                stream.damaged()
            if line is not None:
                heard = now
                for id, op, body in assembler.feed(stream.take(line, now)):
                    self._answered(id, op, body)
            if now - max(heard, asked) > PING:
                asked = now
                stream.ping()
            if now - looked > POLL:
                looked = now
                trouble = self._line.trouble()
                if trouble or now - heard > self._silence:
                    self._lose(trouble or f"nothing came from it for {self._silence:g} s")

    def _next(self, seconds: float) -> lines.Line | None:
        try:
            return self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None

    def _answered(self, id: int, op: int, body: bytes) -> None:
        with self._lock:
            waiting = self._waiting.get(id)
        if waiting is None or op != waiting.op | messages.REPLY:
            raise messages.BadMessage("an answer to nothing")
        waiting.answer = messages.read_answer(body, waiting.sizes)
        with self._lock:
            del self._waiting[id]
        waiting.done.set()

    def _lose(self, why: str) -> None:
        with self._lock:
            self._lost = self._lost or why
            waiting, self._waiting = list(self._waiting.values()), {}
        for one in waiting:
            one.done.set()
        self._wake()
