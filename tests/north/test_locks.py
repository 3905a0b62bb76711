"""The lock that readers share."""

from __future__ import annotations

import threading
import time

import pytest

from north.locks import ReadWriteLock
from tests.threads import together


class Actor(threading.Thread):
    """Takes the lock, then stays until it is told to leave."""

    def __init__(self, lock: ReadWriteLock, *, write: bool) -> None:
        super().__init__(daemon=True)
        self.lock = lock
        self.write = write
        self.inside = threading.Event()
        self.leave = threading.Event()
        self.start()

    def run(self) -> None:
        with self.lock.writing() if self.write else self.lock.reading():
            self.inside.set()
            self.leave.wait(10)

    def finish(self) -> None:
        self.leave.set()
        self.join(10)
        assert not self.is_alive()


def stays_out(actor: Actor) -> bool:
    return not actor.inside.wait(0.05)


def test_readers_share() -> None:
    lock = ReadWriteLock()
    readers = [Actor(lock, write=False) for _ in range(3)]
    assert all(reader.inside.wait(5) for reader in readers)
    for reader in readers:
        reader.finish()


def test_a_writer_is_alone() -> None:
    lock = ReadWriteLock()
    writer = Actor(lock, write=True)
    assert writer.inside.wait(5)
    others = [Actor(lock, write=True), Actor(lock, write=False)]
    assert all(stays_out(other) for other in others)
    writer.finish()
    assert others[0].inside.wait(5) or others[1].inside.wait(5)
    for other in others:
        other.leave.set()
    for other in others:
        other.finish()
        assert other.inside.is_set()


def test_a_waiting_writer_holds_new_readers_back() -> None:
    lock = ReadWriteLock()
    first = Actor(lock, write=False)
    assert first.inside.wait(5)
    writer = Actor(lock, write=True)
    assert stays_out(writer)
    second = Actor(lock, write=False)
    assert stays_out(second)
    first.finish()
    assert writer.inside.wait(5)
    assert stays_out(second)
    writer.finish()
    assert second.inside.wait(5)
    second.finish()


def test_an_exception_releases_it() -> None:
    lock = ReadWriteLock()
    with pytest.raises(KeyError), lock.writing():
        raise KeyError
    with pytest.raises(KeyError), lock.reading():
        raise KeyError
    with lock.writing():
        pass


def test_nobody_is_lost_under_load() -> None:
    lock = ReadWriteLock()
    counted = [0]
    torn = []

    def write() -> None:
        for _ in range(200):
            with lock.writing():
                seen = counted[0]
                time.sleep(0)
                counted[0] = seen + 1

    def read() -> None:
        for _ in range(200):
            with lock.reading():
                seen = counted[0]
                time.sleep(0)
                if counted[0] != seen:
                    torn.append(seen)

    together(lambda target: target(), (write, read, write, read), seconds=30)
    assert counted == [400]
    assert torn == []
