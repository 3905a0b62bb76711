"""Scripts: steps that pass, steps that differ, and files that are no scripts."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
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
        ("[[step]]\nopen = 'hello'\nparams = ['x']", "step 1 (open hello): 'x' is not a parameter"),
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


HELLO_STEP = '[[step]]\nopen = "hello"\n'
ONE_PLACE = [
    ("[[step]]\ninvoke = 1\nparams = 3", "step 1 (invoke 1): params must be a list of strings"),
    ("[[step]]\ninvoke = 1\nparams = ['x']", "step 1 (invoke 1): 'x' is not a parameter"),
    ("[[step]]\ninvoke = 1", "step 1 (invoke 1): no open session 'main'"),
    ("[[step]]\ninvoke = 1\nname = 'hash'\nsession = 'b'", "step 1 (hash): no open session 'b'"),
    ("[[step]]\nclose = true\nsession = 'b'", "step 1 (close b): no open session 'b'"),
    ("[[step]]\nrepeat = 2", "step 1: needs exactly one of open, invoke, close"),
    ("[[step]]\nopen = 'nothing.ta'", "step 1 (open nothing.ta): nothing.ta: no such file"),
    ("[[step]]\nopen = ''", "step 1 (open ): open names no TA"),
    (HELLO_STEP * 2, "step 2 (open hello): session 'main' is open already"),
    ("[[step]]\nopen = 'hello'\nlogin = 'x'", "step 1 (open hello): --login x: not a login method"),
    ("[[step]]\nopen = 'hello'\nunknown = 1", "step 1 (open hello): unknown key 'unknown'"),
    (HELLO_STEP + "[[step]]\ninvoke = 0\nparams = ['value:1']\nsave = { 0 = 'x' }",
     "step 2 (invoke 0): save: parameter 0 is no memref"),
    (HELLO_STEP + "[[step]]\ninvoke = 0\nsave = { 3 = 'x' }", "step 2 (invoke 0): save: parameter 3 is no memref"),
    (HELLO_STEP + "[[step]]\ninvoke = 1\nparams = ['in:str:a', 'out:32']\nsave = { 1 = 'no/such/folder' }",
     "step 2 (invoke 1): no/such"),
    (HELLO_STEP + "[[step]]\ninvoke = 1\nparams = ['in:@folder']", "step 2 (invoke 1): in:@"),
    ("x = 1\n" + HELLO_STEP, "unknown key 'x'"),
    ("step = 1", "a script is made of"),
    ("= 1", "is no TOML"),
    ("x = " + "9" * 5000, "is no TOML that can be read"),
    ("trust = ['nothing.pem']\n" + HELLO_STEP, "trust: nothing.pem: cannot be read"),
    ("trust = ['script.toml']\n" + HELLO_STEP, "trust: script.toml: "),
    ("trust = ['']\n" + HELLO_STEP, "trust: a path is empty"),
    ("elf = ['script.toml']\n" + HELLO_STEP, "elf: script.toml: not an ELF"),
    ("elf = ['nothing']\n" + HELLO_STEP, "elf: "),
    ("ta_dirs = ['nothing']\n" + HELLO_STEP, "ta_dirs: "),
    ("ta_dirs = 1\n" + HELLO_STEP, "ta_dirs must be"),
    ("memory = 1\n" + HELLO_STEP, "memory 1: a TA instance needs"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), ONE_PLACE)
def test_mistakes_name_file_and_step_once(
    cli: Cli, tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For people, for programs and for CI services alike; `FILE: step N (NAME): problem`, or `FILE: problem`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "script.toml").write_text(text)
    done = cli("run", "--script", "script.toml", "--junit", "report.xml", "--json")
    assert done.code == 2, done.out + done.err
    line = done.err.splitlines()[0]
    assert line.startswith(f"litebox-ta: script.toml: {message}".rstrip())
    assert line.count("step ") == message.count("step ")
    assert line.count("script.toml: ") == 1 + message.count("script.toml: ")
    top = done.json
    assert (top["exit"], top["passed"], top["error"]["kind"]) == (2, False, top["error"]["kind"])
    assert f"litebox-ta: {top['error']['message']}" == line
    (suite,) = ET.parse(tmp_path / "report.xml").getroot()
    assert (suite.attrib["errors"], suite.attrib["failures"]) == ("1", "0")
    (wrong,) = (case for case in suite if case.find("error") is not None)
    assert f"litebox-ta: {wrong[0].attrib['message']}" == line


def test_steps_have_one_name_in_every_report(cli: Cli, tmp_path: Path) -> None:
    """Whether they ran, could not be played, or were left out."""
    wanted = ["1 open hello", "2 invoke 0", "3 invoke 1", "4 close main"]
    text = HELLO_STEP + "[[step]]\ninvoke = 0\nparams = ['value:1']\n[[step]]\ninvoke = 1\nSESSION"
    text += "\nparams = ['in:str:a', 'out:32']\n[[step]]\nclose = true"
    for session, code in (("", 0), ("session = 'b'", 2), ("result = 'GENERIC'", 1)):
        path, report = write(tmp_path, text.replace("SESSION", session)), tmp_path / "report.xml"
        assert cli("run", "--script", path, "--junit", str(report)).code == code
        (suite,) = ET.parse(report).getroot()
        assert [case.attrib["name"] for case in suite] == wanted


@pytest.mark.parametrize(
    "field",
    [
        "panic = -1", "panic = 0x100000000", "panic = 1.0", "panic = false", "result = -1", "result = 0x100000000",
        "result = true", "repeat = 0", "repeat = 1000001", "repeat = true", "invoke = 0x100000000", "invoke = 1.5",
        "outputs = ['value:-1']", "outputs = ['value:0x100000000']", "outputs = ['value:0,0x100000000']",
        "outputs = { 4 = 'any' }", "outputs = { -1 = 'any' }", "outputs = ['size:4G']", "params = ['out:4G']",
        "params = ['value:0x100000000']", "params = ['value:-0x80000001']", "save = { 4 = 'x' }",
        "login = 'user:4294967295'", "login = 'group:99999999999'", "panic = 1\ndied = 'fault'",
    ],
)  # fmt: skip
def test_numbers_out_of_range(cli: Cli, tmp_path: Path, field: str) -> None:
    """Refused before the first step."""
    step = field if field.startswith("invoke") else "invoke = 0\n" + field
    done = cli("run", "--script", write(tmp_path, HELLO_STEP + "[[step]]\n" + step))
    assert done.code == 2
    assert "script.toml: step 2 (invoke " in done.err
    assert "ok" not in done.out


@pytest.mark.parametrize("field", ["timeout = 0", "timeout = inf", "timeout = true", "memory = -1", "memory = '5G'"])
def test_limits_out_of_range(cli: Cli, tmp_path: Path, field: str) -> None:
    done = cli("run", "--script", write(tmp_path, f"{field}\n{HELLO_STEP}"))
    assert (done.code, "script.toml: " + field[:6] in done.err) == (2, True)


def test_a_script_that_is_no_text(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_bytes(b"# fine\nx = '\xff'\n")
    done = cli("run", "--script", str(path))
    assert done.code == 2
    assert "script.toml: line 2 is not UTF-8" in done.err
