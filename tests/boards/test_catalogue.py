"""Descriptions of boards: the shipped ones are sound, and each mistake is told with file, key and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.catalogue import Stage, find_board, read_board, shipped
from boards.variables import expand, resolve
from south.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
schema = 1
summary = "a board"
[variables.port]
help = "its port"
[consoles.normal]
link = "${port}"
[power]
kind = "none"
[stages.kernel]
pattern = 'Booting \\d+'
timeout = 5
[shell]
prompt = '# $'
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", shipped())
def test_shipped_boards_are_sound(name: str) -> None:
    board = find_board(name)
    assert board.summary
    assert board.last_stage >= Stage.SHELL
    assert [entry.stage for entry in board.stages] == sorted(entry.stage for entry in board.stages)


def test_which_boards_are_shipped() -> None:
    assert set(shipped()) == {"host", "qemu-virt-linux", "qemu-virt-litebox", "qemu-virt-optee", "template-serial"}


def test_a_description(tmp_path: Path) -> None:
    board = read_board(write(tmp_path, GOOD))
    assert (board.name, board.summary, board.power.kind) == ("mine", "a board", "none")
    assert [entry.stage for entry in board.stages] == [Stage.KERNEL, Stage.SHELL]
    assert board.stages[0].pattern == r"Booting \d+"


@pytest.mark.parametrize(
    ("change", "key", "problem"),
    [
        (("schema = 1", ""), "schema", "is missing"),
        (("schema = 1", "schema = 2"), "schema", "write schema = 1"),
        (("schema = 1", "schema = true"), "schema", "write a number"),
        (('summary = "a board"', ""), "summary", "is missing; it needs a string"),
        (('summary = "a board"', "summary = 3"), "summary", "is a number; write a string"),
        (('summary = "a board"', 'summary = "x"\nsumary = "y"'), "sumary", "did you mean summary?"),
        (('"${port}"', '"${prot}"'), "consoles.normal.link", "${prot}; did you mean port?"),
        (('"${port}"', '"telnet:x"'), "consoles.normal.link", "is no link; use /dev/"),
        (("[consoles.normal]\nlink", "[variables.x]\nhelp"), "consoles", "needs a console: [consoles.normal]"),
        (('kind = "none"', 'kind = "qemo"'), "power.kind", "did you mean qemu?"),
        (('kind = "none"', 'kind = "qemu"'), "power.command", "needs a list of strings"),
        (('kind = "none"', 'kind = "qemu"\ncommand = "x"'), "power.command", "is a string; write a list"),
        (('kind = "none"', 'kind = "qemu"\ncommand = []'), "power.command", "is empty"),
        (('kind = "none"', 'kind = "command"\non = ["a"]'), "power.off", "is missing"),
        (('kind = "none"', 'kind = "none"\nsettle = 1'), "power.settle", "is not known here"),
        (("[stages.kernel]", "[stages.kernal]"), "stages.kernal", "did you mean kernel?"),
        (("[stages.kernel]", "[stages.shell]"), "stages.shell", "is made of [shell]; leave it out"),
        (("timeout = 5", "timeout = 0"), "stages.kernel.timeout", "between 0.1 and"),
        (("timeout = 5", "timeout = nan"), "stages.kernel.timeout", "between 0.1 and"),
        (("timeout = 5", 'timeout = "5 s"'), "stages.kernel.timeout", "write a number of seconds"),
        (("timeout = 5", ""), "stages.kernel.timeout", "is missing"),
        (("timeout = 5", 'timeout = 5\nconsole = "nrmal"'), "stages.kernel.console", "it has normal"),
        (("'Booting \\d+'", "'Booting ('"), "stages.kernel.pattern", "is no regular expression"),
        (("[stages.kernel]\npattern", "[stages.tee]\nrun"), "stages.tee.run", "write a list of strings"),
        (("prompt = '# $'", ""), "shell.prompt", "is missing"),
        (("prompt = '# $'", "prompt = '#'\nlogin = 'login:'"), "shell.user", "is missing"),
        (("[power]", "[power.x]"), "power.x", "is not known here"),
        (("[consoles.normal]", "[consoles]\nnormal = 5\n[x]"), "consoles.normal", "write it as a table"),
        (("schema = 1", "schema = 1\nusual_alarms = 1"), "usual_alarms", "write true or false"),
        (("schema = 1", "schema = = 1"), "", "is no TOML"),
    ],
)
def test_each_mistake_is_told(tmp_path: Path, change: tuple[str, str], key: str, problem: str) -> None:
    assert change[0] in GOOD
    path = write(tmp_path, GOOD.replace(*change))
    with pytest.raises(UsageError) as caught:
        read_board(path)
    told = [line for line in str(caught.value).splitlines() if line.startswith(f"{path}: {key}")]
    assert told, caught.value
    assert any(problem in line for line in told), caught.value


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("timeout = 5", "timeout = 0").replace('kind = "none"', 'kind = "x"'))
    with pytest.raises(UsageError) as caught:
        read_board(path)
    assert len(str(caught.value).splitlines()) == 2


def test_files_that_are_none(tmp_path: Path) -> None:
    files = ((b"\n\xff", "line 2 is not UTF-8"), (b"#" * (1 << 21), "has more than"), (b"[" * 9000, "TOML"))
    for data, problem in files:
        path = tmp_path / "bad.toml"
        path.write_bytes(data)
        with pytest.raises(UsageError, match=problem):
            read_board(path)
    with pytest.raises(UsageError, match="No such file"):
        read_board(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="directory"):
        read_board(tmp_path)


def test_variables(tmp_path: Path) -> None:
    board = read_board(write(tmp_path, GOOD))
    with pytest.raises(UsageError, match=r"mine needs --var port=\.\.\.: its port"):
        resolve(board, {}, tmp_path)
    with pytest.raises(UsageError, match="has no variable prot; did you mean port"):
        resolve(board, {"prot": "x"}, tmp_path)
    values = resolve(board, {"port": "/dev/ttyS0"}, tmp_path)
    assert expand("a ${port} ${run} $x ${board}", values) == f"a /dev/ttyS0 {tmp_path} $x mine"


def test_finding_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(UsageError, match="no board 'hots'; did you mean host"):
        find_board("hots")
    with pytest.raises(UsageError, match="no board 'mine'"):
        find_board("mine")
    monkeypatch.setenv("LITEBOX_BOARDS", f"/nowhere:{tmp_path}")
    assert find_board("mine").name == "mine"
    with pytest.raises(UsageError, match="did you mean kernel"):
        Stage.of("kernl")


WORDS = st.sampled_from(["schema", "summary", "power", "kind", "stages", "kernel", "shell", "consoles", "normal", "x"])
VALUES = st.recursive(
    st.one_of(
        st.integers(-5, 5), st.booleans(), st.floats(), st.text(max_size=5), st.sampled_from(["qemu", "((", "${"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
    return str(value)


@settings(max_examples=300)
@given(st.dictionaries(WORDS, VALUES, max_size=6))
def test_any_toml_is_read_or_refused(tmp_path: Path, data: dict[str, object]) -> None:
    path = write(tmp_path, "\n".join(f"{key} = {toml(value)}" for key, value in data.items()))
    problem = ""
    try:
        read_board(path)
    except UsageError as refused:
        problem = str(refused)
    assert not problem or problem.startswith(str(path))


def test_variables_that_are_made(tmp_path: Path) -> None:
    text = GOOD.replace('help = "its port"', 'help = "its port"\nmake = ["sh", "-c", "COMMAND", "x", "${a}"]')
    text = text.replace("[consoles", '[variables.a]\nhelp = "a"\ndefault = "b c"\n[consoles', 1)

    def values(command: str, given: dict[str, str] | None = None) -> dict[str, str]:
        return resolve(read_board(write(tmp_path, text.replace("COMMAND", command))), given or {}, tmp_path)

    mark = tmp_path / "made"
    made = values(f"echo first; touch {mark}; echo $1")
    assert not mark.exists()
    assert expand("<${port}>", made) == "<b c>"
    assert mark.exists()
    assert values("exit 1", {"port": "mine"})["port"] == "mine"
    for command, problem in (("exit 7", "ended with status 7"), ("true", "printed nothing")):
        with pytest.raises(UsageError, match=rf"{problem}; without it: --var port=\.\.\., its port"):
            _ = values(command)["port"]
    with pytest.raises(UsageError, match="names no variable"):
        read_board(write(tmp_path, text.replace("${a}", "${port}")))
    with pytest.raises(UsageError, match="cannot stand beside default"):
        read_board(write(tmp_path, text.replace("make = ", 'default = ""\nmake = ')))
