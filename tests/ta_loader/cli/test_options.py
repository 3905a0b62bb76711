"""Command lines: what is declared is understood, and everything else is a usage error with a remedy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from south.errors import UsageError
from ta_loader.cli.dispatch import BUILT_IN, find
from ta_loader.cli.login import LOGINS, parse_login
from ta_loader.cli.options import Arguments, Command, Option, help_text, integer, parse, seconds, size
from tee.abi.uuids import parse_uuid


def command(*words: str) -> Command:
    options = (
        Option("--trust", "KEY", "", many=True),
        Option("--state", "DIR", ""),
        Option("-q, --quiet", "", ""),
        Option("--invoke", "CMD PARAMS...", "", rest=True),
    )
    return Command("try", "A try.", words, options, lambda _: 0)


def test_lists_stay_apart() -> None:
    got = parse(command("[TA]"), "x --invoke 0 a b --trust k1 --invoke=1 c --trust=k2 -q --state - --".split())
    assert got.words == ["x"]
    assert got.lists("--invoke") == [["0", "a", "b"], ["1", "c"]]
    assert got.many("--trust") == ["k1", "k2"]
    assert got.one("--state") == "-"
    assert got.switch("--quiet")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "needs TA"),
        ("--invoke 0 ta", "needs TA, before"),
        ("a b", "'b'"),
        ("a --trust", "needs KEY"),
        ("a --trust -q", "needs KEY"),
        ("a --quiet=1", "takes no value"),
        ("a --state x --state y", "only once"),
        ("a --stat x", "did you mean --state"),
        ("a --invoke", "needs CMD"),
    ],
)
def test_usage_errors(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(command("TA"), line.split())


@given(st.lists(st.sampled_from(["--trust", "--state", "-q", "--invoke", "x", "-", "--", "--state=1", "=", "-z"])))
def test_never_anything_else(words: list[str]) -> None:
    try:
        assert isinstance(parse(command("TA..."), words), Arguments)
    except UsageError:
        pass


@pytest.mark.parametrize("name", BUILT_IN)
def test_help(name: str) -> None:
    text = help_text(find(name))
    assert text.startswith(f"usage: litebox-ta {name}")
    for option in find(name).options:
        assert option.names in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_numbers() -> None:
    assert integer("0x10", "x", 0, 16) == 16
    assert size("2M", "x") == 2 << 20
    assert size("0x1F", "x") == 31
    assert seconds("0.5", "x") == 0.5
    for call in (lambda: integer("17", "x", 0, 16), lambda: size("G", "x"), lambda: seconds("nan", "x"),
                 lambda: seconds("0", "x"), lambda: size("9999G", "x")):  # fmt: skip
        with pytest.raises(UsageError):
            call()


def test_logins() -> None:
    assert parse_login("public") == (0, parse_uuid("0" * 32))
    assert parse_login("kernel")[0] == 0x80000000
    # SHA-1 of the name space of tee_core.c and "uid=3e8", by `openssl sha1`, with version 5 and variant put in by hand
    assert str(parse_login("user:1000")[1]) == UID_1000
    assert str(parse_login("group:1000")[1]) == GID_1000
    uuid = "7371bc6b-0888-4252-9d3b-42ddcbca70fd"
    for name in set(LOGINS) - {"public", "kernel"}:
        assert str(parse_login(f"{name}:{uuid}")[1]) == uuid
    for text in ("root", "public:1", "group", "application", "user:no such user here"):
        with pytest.raises(UsageError):
            parse_login(text)


UID_1000 = "fc34275c-d8dd-5ba7-968b-504718363b87"
GID_1000 = "0ece43ed-001d-51bd-bab7-480c8954c3cf"
