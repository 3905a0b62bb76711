"""A seccomp filter through libseccomp, which is loaded at run time: six functions of seccomp.h, no more.

Not PyPI's pyseccomp: its import runs ldconfig, and maybe a compiler, to find a library whose soname is known.
"""

from __future__ import annotations

import ctypes
import enum
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

SONAME = "libseccomp.so.2"
# seccomp.h
ACT_KILL_PROCESS = 0x80000000
ACT_ALLOW = 0x7FFF0000
ATTR_ACT_BADARCH = 2
ATTR_CTL_TSYNC = 4
ATTR_CTL_OPTIMIZE = 8
OPTIMIZE_TREE = 2
NR_ERROR = -1
_EPERM, _ENOSYS = 1, 38


OWN_PID = -1
"""As the value of a condition: the process that is being restricted."""


class Compare(enum.IntEnum):
    """enum scmp_compare (seccomp.h)"""

    EQUAL = 4
    MASKED_EQUAL = 7


class Condition(NamedTuple):
    """On an argument (0..5): equal to `value`, or to `value` in the bits of `mask`."""

    argument: int
    value: int
    mask: int | None = None


class Rule(NamedTuple):
    """One system call. any_of: at least one of these sets of conditions holds; empty: whatever the arguments."""

    reason: str
    any_of: tuple[tuple[Condition, ...], ...] = ()


class SeccompError(Exception):
    """No filter was installed; says why."""


class _ArgCmp(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    ]


def act_errno(code: int) -> int:
    """SCMP_ACT_ERRNO"""
    return 0x00050000 | code


def _library(name: str) -> Any:
    try:
        library = ctypes.CDLL(name)
        library.seccomp_init.argtypes = (ctypes.c_uint32,)
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_release.argtypes = (ctypes.c_void_p,)
        library.seccomp_release.restype = None
        library.seccomp_load.argtypes = (ctypes.c_void_p,)
        library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
        library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
        array = library.seccomp_rule_add_array
        array.argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_ArgCmp))
    except OSError as problem:
        raise SeccompError(f"libseccomp is not there ({problem.strerror or problem})") from None
    except AttributeError as problem:
        raise SeccompError(f"{name} is no libseccomp ({problem})") from None
    return library


def _condition(condition: Condition) -> _ArgCmp:
    value = os.getpid() if condition.value == OWN_PID else condition.value
    if condition.mask is None:
        return _ArgCmp(condition.argument, Compare.EQUAL, value, 0)
    return _ArgCmp(condition.argument, Compare.MASKED_EQUAL, condition.mask, value)


class Filter:
    """A filter under construction; `with` frees it. Every call that no rule names fails with EPERM."""

    def __init__(self, soname: str = SONAME) -> None:
        self._library = _library(soname)
        self._context = self._library.seccomp_init(act_errno(_EPERM))
        if not self._context:
            raise SeccompError("libseccomp cannot make a filter")
        self.unknown: list[str] = []
        """Calls that this libseccomp is too old to know."""
        self.count = 0
        """Calls that are allowed."""

    def __enter__(self) -> Filter:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.seccomp_release(self._context)

    def allow(self, rules: Mapping[str, Rule]) -> None:
        for name, rule in rules.items():
            added = [self._add(ACT_ALLOW, name, conditions) for conditions in rule.any_of or ((),)]
            self.count += all(added)

    def kill(self, names: Iterable[str]) -> None:
        for name in names:
            self._add(ACT_KILL_PROCESS, name)

    def no_such_call(self, names: Iterable[str]) -> None:
        for name in names:
            self._add(act_errno(_ENOSYS), name)

    def _add(self, action: int, name: str, conditions: tuple[Condition, ...] = ()) -> bool:
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number == NR_ERROR:
            self.unknown.append(name)
            return False
        array = (_ArgCmp * len(conditions))(*map(_condition, conditions))
        self._check(self._library.seccomp_rule_add_array(self._context, action, number, len(conditions), array), name)
        return bool(number >= 0)  # a call of other architectures has a negative pseudo-number

    def load(self) -> None:
        """Install it in every thread. Calls of another architecture's table (i386 here) end the process."""
        self._check(self._library.seccomp_attr_set(self._context, ATTR_ACT_BADARCH, ACT_KILL_PROCESS), "architecture")
        self._check(self._library.seccomp_attr_set(self._context, ATTR_CTL_TSYNC, 1), "all threads")
        # A binary tree instead of a chain of a hundred comparisons; before libseccomp 2.5 there is none.
        self._library.seccomp_attr_set(self._context, ATTR_CTL_OPTIMIZE, OPTIMIZE_TREE)
        self._check(self._library.seccomp_load(self._context), "the kernel refuses the filter")

    @staticmethod
    def _check(result: int, what: str) -> None:
        if result < 0:
            raise SeccompError(f"{what}: {os.strerror(-result)}")
