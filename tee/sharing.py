"""Which instances share a writable page right now, and the turns they take because of it.

A guest's atomics are not atomic between two CPUs of the engine. Instances that have the same
foreign memory mapped at the same time join one turn for as long as they do; see
south/engine/csrc/turns.c. What stays impossible: atomics between a TA and the client's own threads.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from south.platform import Cpu, Engine


class Sharing:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._users: dict[int, list[Cpu]] = {}
        self._turns: dict[int, Any] = {}

    def enter(self, identity: int, cpu: Cpu) -> None:
        """`cpu` is about to map the memory known by `identity`."""
        with self._lock:
            users = self._users.get(identity)
            if users is None:
                self._users[identity] = [cpu]
            else:
                users.append(cpu)
                self._arrange()

    def leave(self, identity: int, cpu: Cpu) -> None:
        with self._lock:
            users = self._users[identity]
            if len(users) == 1:
                del self._users[identity]
            else:
                users.remove(cpu)
                self._arrange()

    def _arrange(self) -> None:
        """Give each group of CPUs that are connected by shared memory one turn, everyone else none."""
        groups: list[set[int]] = []
        cpus: dict[int, Cpu] = {}
        for users in self._users.values():
            cpus.update((id(cpu), cpu) for cpu in users)
            group = {id(cpu) for cpu in users}
            apart = [g for g in groups if not g & group]
            for other in groups:
                if other & group:
                    group |= other
            groups = [*apart, group]
        turns: dict[int, Any] = {}
        for group in groups:
            if len(group) < 2:
                continue
            turn = next((self._turns[key] for key in group if key in self._turns), None) or self._engine.turn()
            if any(other is turn for other in turns.values()):
                turn = self._engine.turn()
            turns.update((key, turn) for key in group)
        before = self._turns
        self._turns = turns
        for key, cpu in cpus.items():
            if turns.get(key) is not before.get(key):
                cpu.join(turns.get(key))
