"""Scripts: steps that pass, steps that differ, and files that are no scripts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

GOOD = """
[[step]]
open = "hello"
[[step]]
open = "hello-arm"
session = "arm"
[[step]]
name = "count"
invoke = 0
params = ["value:41,1"]
outputs = ["value:42,1"]
repeat = 3
[[step]]
session = "arm"
invoke = 1
params = ["in:@message", "inout:64"]
result = "BAD_PARAMETERS"
origin = "TRUSTED_APP"
[[step]]
session = "arm"
invoke = 1
params = ["in:@message", "out:32"]
outputs = { 1 = "hex:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }
save = { 1 = "digest" }
[[step]]
invoke = 1
params = ["in:str:abc", "out:8"]
result = 0xffff0010
outputs = ["any", "size:32"]
[[step]]
invoke = 2
params = ["value:0xbad"]
panic = 0xbad
[[step]]
close = true
[[step]]
open = "hello"
[[step]]
invoke = 4
params = ["out:16"]
outputs = ["size:16"]
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "script.toml"
    path.write_text(text)
    return str(path)


def test_good(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(b"abc")
    done = cli("run", "--script", write(tmp_path, GOOD))
    assert done.code == 0, done.out + done.err
    assert "10 steps as expected" in done.out
    assert "ok   3 count" in done.out
    assert (tmp_path / "digest").read_bytes()[:4].hex() == "ba7816bf"


def test_json(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(b"abc")
    top = cli("run", "--json", "--script", write(tmp_path, GOOD)).json
    assert top["passed"]
    assert len(top["steps"]) == 10
    assert top["steps"][2]["name"] == "count"
    assert top["steps"][2]["params"][0]["a"] == 42
    assert top["steps"][6]["crash"]["code"] == 0xBAD


@pytest.mark.parametrize(
    ("step", "code", "message"),
    [
        ('invoke = 0\nparams = ["value:1"]\noutputs = ["value:3"]', 1, "value 0x2,0x0, expected 0x3,0x0"),
        ('invoke = 0\nparams = ["value:1"]\nresult = "GENERIC"', 1, "result TEE_SUCCESS, expected TEE_ERROR_GENERIC"),
        ('invoke = 99\nresult = "NOT_SUPPORTED"\norigin = "TEE"', 1, "origin TRUSTED_APP, expected TEE"),
        ('invoke = 2\nparams = ["value:5"]', 3, "the TA panics, expected that it survives"),
        ('invoke = 2\nparams = ["value:5"]\npanic = 6', 3, "panic code 0x5, expected 0x6"),
        ('invoke = 7\ndied = "fault"', 1, "the TA survives, expected that it dies of a fault"),
        ('invoke = 1\nparams = ["in:str:abc", "out:32"]\noutputs = { 1 = "str:abc" }', 1, "32 bytes ba7816bf"),
        ('invoke = 6', 5, "is stopped at a limit"),
    ],
)  # fmt: skip
def test_differences(cli: Cli, tmp_path: Path, step: str, code: int, message: str) -> None:
    text = f'timeout = 0.2\n[[step]]\nopen = "hello"\n[[step]]\n{step}\n'
    done = cli("run", "--script", write(tmp_path, text))
    assert done.code == code
    assert message in done.out
    assert "step 2 of 2 was not as expected" in done.out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one"),
        ("step = 1", "[[step]]"),
        ("nonsense", "script.toml: "),
        ("x = 1\n[[step]]\nopen = 'hello'", "unknown key 'x'"),
        ("[[step]]\nopen = 'hello'\nclose = true", "exactly one"),
        ("[[step]]\nclose = 1", "close = true"),
        ("[[step]]\nopen = 1", "open must be a string"),
        ("[[step]]\ninvoke = -1", "invoke must be a number"),
        ("[[step]]\ninvoke = true", "invoke must be a number"),
        ("[[step]]\ninvoke = 1", "no open session"),
        ("[[step]]\nopen = 'hello'\nparams = ['x']", "step 1: 'x' is not a parameter"),
        ("[[step]]\nopen = 'hello'\nresult = 'MEH'", "neither a number nor a name"),
        ("[[step]]\nopen = 'hello'\norigin = 'MEH'", "origin is one of"),
        ("[[step]]\nopen = 'hello'\noutputs = ['x']", "output 'x'"),
        ("[[step]]\nopen = 'hello'\noutputs = { 9 = 'any' }", "outputs"),
        ("[[step]]\nopen = 'hello'\npanic = 'x'", "panic is true"),
        ("[[step]]\nopen = 'hello'\nsave = { x = 'y' }", "save is a table"),
        ("[[step]]\nopen = 'hello'\n[[step]]\nopen = 'hello'", "open already"),
        ("allow_unsigned = 1\n[[step]]\nopen = 'hello'", "allow_unsigned must be"),
        ("ta_dirs = 'x'\n[[step]]\nopen = 'hello'", "ta_dirs must be"),
        ("timeout = -1\n[[step]]\nopen = 'hello'", "timeout"),
    ],
)  # fmt: skip
def test_malformed(cli: Cli, tmp_path: Path, text: str, message: str) -> None:
    done = cli("run", "--script", write(tmp_path, text))
    assert done.code == 2
    assert message in done.err


def test_missing(cli: Cli) -> None:
    assert cli("run", "--script", "/nonexistent.toml").code == 2


CHAIN = """
[[step]]
open = "hello"
[[step]]
invoke = 1
params = ["in:str:abc", "out:32"]
save = { 1 = "one" }
[[step]]
invoke = 1
params = ["in:@one", "out:32"]
save = { 1 = "two" }
[[step]]
invoke = 1
params = ["in:@./one", "out:32"]
outputs = { 1 = "@two" }
[[step]]
invoke = 13
params = ["inout:@one,32"]
save = { 0 = "one" }
[[step]]
invoke = 1
params = ["in:@one", "out:32"]
save = { 1 = "three" }
"""


def test_a_step_reads_what_an_earlier_one_saved(cli: Cli, tmp_path: Path) -> None:
    """Also where there was a file of that name before the script ran."""
    for before in (None, b"old"):
        if before is not None:
            (tmp_path / "two").write_bytes(before)
        done = cli("run", "--script", write(tmp_path, CHAIN))
        assert done.code == 0, done.out + done.err
        one = hashlib.sha256(b"abc").digest()
        assert (tmp_path / "two").read_bytes() == hashlib.sha256(one).digest()
        touched = bytes([(one[0] + 1) & 0xFF]) + one[1:]
        assert (tmp_path / "three").read_bytes() == hashlib.sha256(touched).digest()


@pytest.mark.parametrize("field", ['params = ["in:@late", "out:32"]', 'outputs = { 1 = "@late" }'])
def test_a_file_that_no_earlier_step_saves(cli: Cli, tmp_path: Path, field: str) -> None:
    """It is missed before the first step runs."""
    text = '[[step]]\nopen = "hello"\n[[step]]\ninvoke = 1\n' + field
    text += '\n[[step]]\ninvoke = 1\nparams = ["in:str:a", "out:32"]\nsave = { 1 = "late" }'
    done = cli("run", "--script", write(tmp_path, text))
    assert done.code == 2
    assert "step 2" in done.err
    assert "no earlier step saves it" in done.err
    assert "ok" not in done.out


def test_a_script_that_is_no_file(cli: Cli) -> None:
    done = cli("run", "--script", "/dev/zero")
    assert (done.code, "a device" in done.err) == (2, True)
