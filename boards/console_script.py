"""The text that a shell evaluates to run a command, and the markers that it prints around it.

It has to work in every POSIX shell and zsh, whatever a user set there: `set -u`, aliases, an IFS of digits. The markers
begin with CAN, which ends a control sequence that the command began (ECMA-48 §8.3.6; `boards.console_plain`).

POSIX.1-2017 XCU: printf (`%b`, `\\0ddd`), `command` (2.9.1: with it a syntax error in `eval` does not end the shell;
in zsh it is for programs alone, and `eval` needs no help).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from boards.console_kernel import GAP, own_words, repeated, tolerant

if TYPE_CHECKING:
    from collections.abc import Sequence

COPIES = 3
"""Of each marker."""
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./=+,-")
PROTOCOL = re.compile(
    r"LB(?:[ANPQRVWX]|[BE][1-3]):[0-9a-f]{8}:|\bl([a-z]{2})\1(?:='|\$l)|printf 'LB%s|eval \"\$\(\\?printf %b"
    r"|(?:\\0[0-7]{3}[^\\]{0,40}){2}|' V \"\$l"
)
"""Lines of our own doing in a log: of no interest to a reader, unless the line is bad."""


_UPTIME = re.compile(r"[0-9]{1,9}\.[0-9]{2}")


def encode(text: str) -> str:
    """As printf's `%b` decodes it, without a character that a shell gives a meaning. Surrogates are bytes (PEP 383)."""
    return "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in octets(text))


def octets(text: str) -> bytes:
    """Of a command, which may come from a command line that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def name(number: int) -> str:
    """Of a variable; far from every other."""
    return "l" + 2 * (chr(97 + number // 26) + chr(97 + number % 26))


def pieces(text: str, size: int) -> list[str]:
    """Cut, but never within an escape: a lone backslash at a piece's end would eat the quote in some shells."""
    out: list[str] = []
    while text:
        cut = min(size, len(text))
        escape = text.rfind("\\", max(0, cut - 4), cut)
        if escape >= 0 and cut < len(text) and escape + 5 > cut:
            cut = escape or 5
        out.append(text[:cut])
        text = text[cut:]
    return out


def _prelude() -> str:
    begin = " ".join(f'B{number} "$lbu" "$lbk"' for number in range(1, COPIES + 1))
    end = " ".join(f'E{number} "$lbr" "$lbx"' for number in range(1, COPIES + 1))
    run = 'if [ "${ZSH_VERSION-}" ];then \\eval "$lbs";else \\command eval "$lbs";fi'
    return (
        '[ "${lbd-}" = "$lbt" ]||{ lbr=;lbu=;lbk=;lbd=$lbt;'
        "{ IFS=' ' \\read lbu lbx </proc/uptime;IFS='\t' \\read lbk lbx </proc/sys/kernel/printk;} 2>/dev/null;"
        "case ${PS1-} in LBP:*);;*)lbp=${PS1-};esac;PS1=LBP:$lbt:;"
        f'\\printf "\\030LB%s:$lbt:%s:%s:\\n" {begin};'
        f'if [ "$lbw" ];then ({run});else {run};fi;lbr=$?;'
        '[ "${PS1-}" != "LBP:$lbt:" ]||PS1=$lbp;};'
        f'lbx=$((255-${{lbr:-0}}));\\printf "\\030LB%s:$lbt:%s:%s:\\n" {end}'
    )


PRELUDE = _prelude()
"""Kept in the shell's variable `lbprel`. It runs the command in `lbs` (lbw: in a subshell), unless it did under that
token (lbt)."""


def script(command: str, token: str, *, subshell: bool = False) -> str:
    """subshell: `exit` in it ends the command alone, and what it sets is gone afterwards."""
    quoted = command.replace("'", "'\\''")
    return f"lbt={token};lbw={'1' if subshell else ''};lbs='{quoted}';\\eval \"$lbprel\""


def variable_line(variable: str, part: str, token: str) -> str:
    """Keeps a piece of a script in a variable, and shows it."""
    return f"{variable}='{part}';\\printf 'LB%s:{token}:%s:\\n' V \"${variable}\""


def start_line(names: Sequence[str], length: int, token: str) -> str:
    """Runs a script of so many encoded bytes that is in these variables; prints a marker if something is missing."""
    together = "".join(f"${variable}" for variable in names)
    return (
        f'lbc={together};if [ "${{#lbc}}+${{#lbprel}}" = {length}+{len(PRELUDE)} ];then \\eval "$(\\printf %b "$lbc")";'
        f"else \\printf 'LB%s:{token}:\\n' X;fi"
    )


def prelude_line(names: Sequence[str], token: str) -> str:
    """Keeps a prelude that is in these variables, and shows its length."""
    together = "".join(f"${variable}" for variable in names)
    return f'lbprel=$(\\printf %b "{together}");\\printf \'LB%s:{token}:%s:\\n\' Q "${{#lbprel}}"'


def probe(token: str) -> str:
    """A line that POSIX shells, fish and tcsh answer with three, two and four backslashes."""
    return rf"""printf 'LB%s:{token}:%s%s:\n' A '\\' "\\" """.rstrip()


RESTORE = "PS1=${lbp-}"
"""After a command that was interrupted."""
ASK = '\\printf \'LB%s:%s:%s:%s:\\n\' E1 "${lbd-}" "${lbr-}" "$((255-${lbr:-0}))"'
"""How the last command ended, from a shell whose markers were lost: its token, not to be mistaken for another's."""


class Started(NamedTuple):
    """What stands before the end's marker. earlier: before the command began. uptime: /proc/uptime then, in seconds.
    level: the kernel's, for messages on consoles. output: of the command. 0 and -1: the shell cannot say."""

    earlier: str
    uptime: float
    level: int
    output: str


class Markers:
    """Patterns for what the script of one token prints, also with messages of the kernel in between."""

    def __init__(self, token: str) -> None:
        missing = tolerant(f"LBX:{token}:")
        self.missing = _compile(missing)
        """The prelude is."""
        self.begun = _compile(f"{_marker('BE', token)}|{missing}")
        # Not what `set -x` shows of it.
        prompt = rf"(?<![='])(?<![\[='e] ){tolerant(f'LBP:{token}:')}{GAP}\Z"
        numbers = f"({repeated('0-9', 3)}){GAP}:{GAP}({repeated('0-9', 3)}){GAP}:"
        self.end = _compile(f"{_marker('E', token)}{GAP}{numbers}|{prompt}")
        """Groups: the marker's number, the exit code, its complement; none for the prompt."""
        self.answer = _compile(
            f"{_marker('E', token)}{GAP}((?:{repeated('0-9', 3)})?){GAP}:{GAP}((?:{repeated('0-9', 3)})?){GAP}:"
        )
        """To ASK. Groups: the number, the exit code or "", its complement."""
        uptime, level = (f"((?:{repeated(chars, 16)})?)" for chars in ("0-9.", "0-9"))
        begin = f"{_marker('B', token)}{GAP}{uptime}{GAP}:{GAP}{level}{GAP}:{GAP}\n"
        self._begin, self._next = re.compile(begin), re.compile(f"{GAP}{begin}")

    def started(self, before: str) -> Started:
        first = last = self._begin.search(before)
        if first is None or last is None:
            return Started("", 0.0, -1, before)
        while (found := self._next.match(before, last.end())) is not None:
            last = found
        uptime, level = own_words(last[2]), own_words(last[3])
        # Of a marker that was damaged its line is not the command's.
        output = before[last.end() :].split("\n", COPIES - int(last[1]))[-1]
        seconds = float(uptime) if _UPTIME.fullmatch(uptime) else 0.0
        return Started(before[: first.start()], seconds, int(level) if level else -1, output)


def without_ends(output: str, damaged: int) -> str:
    """Without so many damaged markers at its end."""
    for _ in range(damaged):
        start = output[:-1].rfind("\n") + 1
        marker = output.find("LBE", start)
        output = output[: max(start, marker)]
    return output


def _marker(kinds: str, token: str) -> str:
    return GAP.join(["L", "B", f"[{kinds}]", f"([1-{COPIES}])", *map(re.escape, f":{token}:")])


def own_line(marker: str, rest: str = "") -> re.Pattern[bytes]:
    """A pattern for one of our own lines, also with messages within it."""
    return _compile(f"{tolerant(marker)}{GAP}{rest}")


def _compile(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode(), re.MULTILINE)
