"""The lines and the stream that a board and we speak over: bytes come in order and once, whatever becomes of lines."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normal_world.agent import lines, messages
from normal_world.agent.stream import Stream

SEED = lines.seed("token")


@given(st.sampled_from("DANP"), st.integers(0, (1 << 60) - 1), st.binary(max_size=720), st.integers(0, 15))
def test_a_line_there_and_back(kind: str, at: int, data: bytes, number: int) -> None:
    line = lines.Line(kind, at, data, number)
    text = lines.format_line(line, SEED, lines.FROM_AGENT)
    assert len(text) <= lines.LINE_MAX
    assert text.isascii()
    assert lines.parse_line(text[:-1], SEED) == line
    assert lines.parse_line(b"[ 1.0] usb < 3 " + text[:-1], SEED) == line
    with pytest.raises(lines.DamagedLine):
        lines.parse_line(text[:-1], lines.seed("another"))
    assert lines.parse_line(lines.format_line(line, SEED)[:-1], SEED) is None, "an echo of our own"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_line_none_or_damaged(data: bytes) -> None:
    for text in (data, b"<" + data, b"<D00:" + data):
        try:
            assert lines.parse_line(text, SEED) is None
        except lines.DamagedLine:
            pass


@given(st.binary(min_size=1, max_size=60), st.data())
def test_one_changed_character_is_noticed(data: bytes, draw: st.DataObject) -> None:
    text = bytearray(lines.format_line(lines.Line("D", 7, data), SEED, lines.FROM_AGENT)[:-1])
    at = draw.draw(st.integers(0, len(text) - 1))
    text[at] ^= draw.draw(st.integers(1, 255))
    try:
        assert lines.parse_line(bytes(text), SEED) is None
    except lines.DamagedLine:
        pass


class Wire:
    """Two streams, and lines between them that get lost, doubled, damaged and overtaken by time."""

    def __init__(self, seed: int, loss: float) -> None:
        self.dice = random.Random(seed)
        self.loss = loss
        self.now = 0.0
        self.ways: tuple[deque[lines.Line | None], deque[lines.Line | None]] = (deque(), deque())
        self.ends = [Stream(lambda line: self.put(0, line)), Stream(lambda line: self.put(1, line))]
        self.got = [bytearray(), bytearray()]

    def put(self, way: int, line: lines.Line) -> None:
        dice = self.dice.random()
        if dice < self.loss:
            return
        if dice < 2 * self.loss:
            self.ways[way].append(None)
            return
        self.ways[way].extend([line] * (2 if dice < 3 * self.loss else 1))

    def run(self, until: float) -> None:
        while self.now < until and not all(end.idle for end in self.ends):
            for index, end in enumerate(self.ends):
                end.work(self.now)
                incoming = self.ways[1 - index]
                for _ in range(self.dice.randrange(4)):
                    if incoming:
                        line = incoming.popleft()
                        if line is None:
                            end.damaged()
                        else:
                            self.got[index] += end.take(line, self.now)
            self.now += 0.005


@settings(max_examples=40)
@given(st.integers(0, 1 << 30), st.floats(0, 0.2), st.binary(max_size=6000), st.binary(max_size=3000))
def test_bytes_come_in_order_and_once(seed: int, loss: float, there: bytes, back: bytes) -> None:
    wire = Wire(seed, loss)
    wire.ends[0].put(there)
    wire.ends[1].put(back)
    wire.run(600)
    assert (bytes(wire.got[1]), bytes(wire.got[0])) == (there, back)


def test_acknowledgements_of_what_was_never_sent() -> None:
    stream = Stream(lambda _: None)
    stream.put(b"abc")
    stream.work(0)
    for at in (4, 1 << 63):
        stream.take(lines.Line("A", at), 0)
    assert not stream.idle
    stream.take(lines.Line("A", 3), 0)
    assert stream.idle


@given(st.binary(max_size=400), st.lists(st.integers(0, 200), max_size=4))
def test_answers_are_read_or_refused(body: bytes, offered: list[int]) -> None:
    try:
        answer = messages.read_answer(body, offered)
    except messages.BadMessage:
        return
    assert all(len(p.memory) <= room for p, room in zip(answer.params, [*offered, 0, 0, 0, 0], strict=False))


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(1, 40))
def test_messages_come_in_pieces(bodies: list[bytes], size: int) -> None:
    data = b"".join(messages.request(id, messages.Op.INVOKE, body) for id, body in enumerate(bodies))
    assembler = messages.Assembler()
    got = [one for at in range(0, len(data), size) for one in assembler.feed(data[at : at + size])]
    assert got == [(id, messages.Op.INVOKE, body) for id, body in enumerate(bodies)]
    with pytest.raises(messages.BadMessage):
        assembler.feed(messages.HEADER.pack(messages.MESSAGE_MAX + 1, 0, 0))
