"""Worlds that get no more addresses from some point on: what becomes of the process, and of the TAs in it?

`python -m tests.hostile.narrow MEMORY EXTRA...` forks a child for each number of MiB that is left to it, whose TAs have
MEMORY bytes; it opens sessions and calls them. Prints, as JSON, how each child ended: the results that came, by result.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import traceback
from collections import Counter

from south.platform import Arch
from ta_loader import samples
from ta_loader.machines import TA_ARCHES
from tee.limits import Limits
from tee.params import Kind, Memref, Value
from tee.world import SecureWorld
from tests.hostile.kit import Hello, increments, make_world, open_ta

SESSIONS = 12


def addresses() -> int:
    with open("/proc/self/status") as lines:
        (line,) = (line for line in lines if line.startswith("VmSize:"))
    return int(line.split()[1]) << 10


def squeezed(world: SecureWorld, known: int, extra: float) -> Counter[int]:
    """Open and call as much as there may be."""
    answers: Counter[int] = Counter()
    data = world.platform.pages.shared(1 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (addresses() + int(extra * (1 << 20)), -1))
    for number in range(SESSIONS):
        opened = world.open_session(samples.HELLO[TA_ARCHES[number % 2]])
        answers[opened.result] += 1
        for session in (known, opened.session):
            if not session:
                continue
            for command, params in (
                (Hello.INCREMENT, [Value(Kind.VALUE_INOUT, 1)]),
                (Hello.HASH, [Memref(Kind.MEMREF_INPUT, data, 1 << 20), Memref(Kind.MEMREF_OUTPUT, data, 32)]),
                (Hello.RANDOM, [Memref(Kind.MEMREF_OUTPUT, data, 1 << 16)]),
                (Hello.EMPTY, []),
            ):
                answers[world.invoke(session, command, params).result] += 1
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    return answers


def child(memory: int, extra: float, out: int) -> None:
    with tempfile.TemporaryDirectory() as state, make_world(state, limits=Limits(memory=memory)) as world:
        known = open_ta(world, samples.HELLO[Arch.AARCH64])
        increments(world, known)
        answers = squeezed(world, known, extra)
        again = world.open_session(samples.HELLO[Arch.AARCH64])  # there is room again
        assert not again.result
        increments(world, again.session)
        os.write(out, json.dumps(answers).encode())


def ended(memory: int, extra: float) -> dict[str, int] | str:
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            child(memory, extra, write)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(20)
    os.close(write)
    with os.fdopen(read) as answers:
        text = answers.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    found: dict[str, int] = json.loads(text) if not status else {}
    return found if not status else f"exit code {os.WEXITSTATUS(status)}"


if __name__ == "__main__":
    print(json.dumps({extra: ended(int(sys.argv[1]), float(extra)) for extra in sys.argv[2:]}))
