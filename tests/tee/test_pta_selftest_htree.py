"""The hash tree's self test, tried on a small tree of its own kind, and on the same tree broken in many ways."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tee.abi import results
from tee.errors import TeeError
from tee.pta.invoke_tests import InvokeTestsPta
from tee.pta.selftest.htree import Medium, Structure, _places, run
from tee.pta.selftest.kit import SelfTestFailure
from tests.fakes import Lines
from tests.tee.pta_kit import host_platform

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK = 64
HEAD, NODE = 40, 33
ROOM = 16
"""Blocks that fit."""
NODES = 2 * HEAD
BLOCKS = NODES + 2 * ROOM * NODE


def digest(*pieces: bytes) -> bytes:
    return hashlib.sha256(b"".join(pieces)).digest()


class SmallTree:
    """One level: a header over all nodes, a node over each block; all in two versions. Breaks as `faults` say."""

    def __init__(self, medium: Medium, counter: int, nodes: list[bytes], faults: frozenset[str]) -> None:
        self.medium = medium
        self.counter = counter
        self.nodes = nodes
        self.faults = faults
        self.fresh: set[int] = set()
        self.root_hash = digest(*nodes)

    def read_block(self, block: int) -> bytes:
        node = self.nodes[block]
        data = self.medium.read(BLOCKS + (2 * block + node[0]) * BLOCK, BLOCK)
        if digest(data) != node[1:] and "blocks unchecked" not in self.faults:
            raise TeeError(results.CORRUPT_OBJECT)
        return data if "first byte lost" not in self.faults else b"\0" + data[1:]

    def write_block(self, block: int, data: bytes) -> None:
        while block >= len(self.nodes):
            self.nodes.append(bytes(NODE))
        version = self.nodes[block][0]
        if block not in self.fresh and "written in place" not in self.faults:
            version ^= 1
        self.fresh.add(block)
        self.medium.write(BLOCKS + (2 * block + version) * BLOCK, data)
        self.nodes[block] = bytes((version,)) + digest(data)
        if "committed at once" in self.faults:
            self.commit()

    def commit(self) -> None:
        if "never committed" in self.faults:
            return
        self.counter += 1
        self.root_hash = digest(*self.nodes)
        for number, node in enumerate(self.nodes):
            self.medium.write(NODES + (2 * number + self.counter % 2) * NODE, node)
        head = (self.counter << 32 | len(self.nodes)).to_bytes(8, "big") + self.root_hash
        self.medium.write(self.counter % 2 * HEAD, head)
        self.fresh.clear()


class SmallTrees:
    block_size = BLOCK

    def __init__(self, *faults: str) -> None:
        self.faults = frozenset(faults)

    def create(self, medium: Medium) -> SmallTree:
        medium.write(0, bytes(2 * HEAD))
        tree = SmallTree(medium, 0, [], self.faults - {"never committed"})
        tree.commit()
        return tree

    def open(self, medium: Medium, root_hash: bytes | None) -> SmallTree:
        heads = [medium.read(version * HEAD, HEAD) for version in (0, 1)]
        if root_hash is None:
            newest = max if "oldest taken" not in self.faults else min
            heads = [newest(heads)]
        for head in heads:
            if root_hash is None or head[8:] == root_hash or "any head" in self.faults:
                counter, count = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
                if count > ROOM:
                    break
                nodes = [medium.read(NODES + (2 * n + counter % 2) * NODE, NODE) for n in range(count)]
                if digest(*nodes) == head[8:]:
                    return SmallTree(medium, counter, nodes, self.faults)
        raise TeeError(results.CORRUPT_OBJECT)

    def structures(self, blocks: int) -> Iterable[Structure]:
        # Counters are not authentic in this tree, which is why it is none to use: the hash alone is looked at.
        yield Structure("the header's hash", (8, 8 + HEAD), HEAD - 8)
        for n in range(blocks):
            yield Structure(f"node {n}", (NODES + 2 * n * NODE + 1, NODES + (2 * n + 1) * NODE + 1), NODE - 1)
            yield Structure(f"block {n}", (BLOCKS + 2 * n * BLOCK, BLOCKS + (2 * n + 1) * BLOCK), BLOCK)


def test_a_sound_tree_passes() -> None:
    run(SmallTrees())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("blocks unchecked", "block 0 is not read as data|read after opening|is gone"),
        ("any head", "is noticed|read after opening|is gone"),
        ("first byte lost", "before the commit"),
        ("written in place", "CORRUPT_OBJECT"),
        ("committed at once", "is gone|CORRUPT_OBJECT"),
        ("never committed", "read after opening|list index|CORRUPT_OBJECT"),
        ("oldest taken", "is gone|list index|CORRUPT_OBJECT"),
    ],
)
def test_a_broken_tree_fails(fault: str, message: str) -> None:
    with pytest.raises((SelfTestFailure, TeeError, IndexError), match=message):
        run(SmallTrees(fault))


def test_a_structure_that_is_not_there_is_no_success() -> None:
    class Elsewhere(SmallTrees):
        def structures(self, blocks: int) -> Iterable[Structure]:
            yield Structure("a node", (1 << 20,), 8)

    with pytest.raises(SelfTestFailure, match="a node is in the file"):
        run(Elsewhere())


def test_places() -> None:
    assert list(_places(1)) == [0]
    assert list(_places(2)) == [0, 1]
    assert list(_places(9)) == [0, 1, 2, 4, 8]
    assert list(_places(66)) == [0, 1, 2, 4, 8, 16, 32, 64, 65]


def test_as_the_test_pta_runs_it() -> None:
    console = Lines()
    InvokeTestsPta(host_platform(console), lambda: run(SmallTrees())).invoke(None, 6, (None,) * 4, None)
    assert console.text == ""
    with pytest.raises(TeeError, match="GENERIC"):
        InvokeTestsPta(host_platform(console), lambda: run(SmallTrees("any head"))).invoke(None, 6, (None,) * 4, None)
    assert "self test hash tree failed" in console.text
