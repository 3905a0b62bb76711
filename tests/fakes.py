"""Pieces of a platform that tests look into."""

from __future__ import annotations


class Lines:
    """A console that remembers."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


class FixedRoot:
    """A root of trust with a known hardware unique key, by default OP-TEE's default of zeros."""

    def __init__(self, key: bytes = bytes(16), device: bytes = b"BEEF" * 4) -> None:
        self.key = key
        self.device = device

    def hardware_unique_key(self) -> bytes:
        return self.key

    def device_id(self) -> bytes:
        return self.device


class FakeClock:
    """now: seconds, monotonic; date: seconds since 1970. Sleeping takes no time, but for its own."""

    def __init__(self, monotonic: float = 0.0, wall: float = 0.0) -> None:
        self.now = monotonic
        self.date = wall

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.date

    def sleep(self, seconds: float) -> None:
        self.now += seconds
