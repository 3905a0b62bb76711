"""Failures of the North: what a program asked for and cannot have."""

from __future__ import annotations


class SpaceError(Exception):
    """Base of what an address space refuses."""


class OutOfMemory(SpaceError):
    """The instance's quota or its address range is used up."""


class BadRange(SpaceError):
    """Unaligned, empty, overlapping or not mapped."""


class BadAddress(Exception):
    """Memory that the program may not use as it wants a call to. Base of what a personality raises for it."""
