"""The documentation is true: what it names exists, every option stands in it, and its commands print what it shows."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from normal_world import Context
from normal_world.client.options import LocalOptions
from normal_world.daemon.metrics import PREFIX
from ta_loader import samples
from ta_loader.cli import script
from ta_loader.cli.tree import nodes
from ta_loader.container.verify import open_container
from ta_loader.trust import TrustStore
from tee.limits import Limits
from tests.threads import PATIENCE
from tools import commands_doc

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = ("south", "north", "tee", "ta_loader", "normal_world", "boards")

OTHERS_OPTIONS = {
    # pytest's, OpenSC's, xtest's
    *(
        "--board",
        "--board-var",
        "--pyargs",
        "--no-deps",
        "--init-token",
        "--slot-index",
        "--label",
        "--so-pin",
        "--module",
        "--install-ta",
    ),
}
"""Options of other programs that the pages mention."""

FILES = (".elf", ".ta", ".toml", ".pem", ".py")
"""Ends of names of files, which look like dotted names."""

BAD_BOARD = """\
schema = 1
summary = "with mistakes"
[consoles.normal]
link = "/dev/ttyUSB0"
[power]
kind = "qemo"
[stages.kernel]
pattern = "Linux"
timeout = "3"
[shell]
promt = "# "
"""
"""The description whose mistakes boards.md shows."""

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def prose(text: str) -> str:
    """Without fenced and indented blocks."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return "\n".join(line for line in text.split("\n") if not line.startswith("    "))


@cache
def declared() -> dict[str, set[str]]:
    """Options by the command that has them, the pytest plugins' included."""
    found = {
        " ".join(node.words): {name for option in node.command.options for name in option.names.split(", ")}
        for node in nodes()
    }
    for plugin in ("normal_world/pytest_plugin.py", "boards/pytest_plugin.py"):
        text = (ROOT / plugin).read_text()
        names = {f"--{name}" for name in re.findall(r'"--([a-z-]+)"', text)}
        names |= {f"--litebox-{name}" for name in re.findall(r'\("([a-z-]+)", "(?:append|store)"', text)}
        found[plugin] = names
    return found


@page
def test_options_exist(path: Path) -> None:
    known = set().union(*declared().values()) | OTHERS_OPTIONS | {"--help", "--version"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose(path.read_text())))
    assert not named - known


@pytest.mark.parametrize("command", declared())
def test_options_stand_in_a_page(command: str) -> None:
    text = "\n".join(path.read_text() for path in PAGES)
    missing = {name for name in declared()[command] if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)}
    assert not missing - {"-q", "-v"}


def test_the_page_of_all_commands() -> None:
    assert commands_doc.main(["--check"]) == 0, "run python -m tools.commands_doc"


def anchors(path: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(path.read_text()), re.M)
    return {re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@page
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        if "://" not in target:
            place = path.parent / target if target else path
            assert place.exists(), target
            assert not anchor or anchor in anchors(place), f"{target}#{anchor}"


OLD_WORDS = re.compile(
    r"\b(anew|lest|spoilt|nought|to be had|comes? along|(?:is|are|was|were) told|rooms|the house|this floor)\b"
)
"""Other words are plainer: again, so that not, damaged, zero, available, bundled, reported, packages, architecture."""


@page
def test_words_are_plain(path: Path) -> None:
    assert not OLD_WORDS.findall(prose(path.read_text()))


def spans(path: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(path.read_text()))


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of ours, or something in one."""
    parts = name.split(".")
    if parts[0] == "tee" and hasattr(Context, parts[1]):
        return True  # the pages on clients call a Context so
    for split in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            if not hasattr(found, part):
                return part in getattr(found, "__annotations__", {})
            found = getattr(found, part)
        return True
    return False


@page
def test_names_in_backticks_exist(path: Path) -> None:
    wrong = []
    for span in spans(path):
        dotted = re.fullmatch(rf"((?:{'|'.join(PACKAGES)})(?:\.\w+)+)(?:\(.*\))?", span)
        if dotted and not span.endswith(FILES) and not resolves(dotted[1]):
            wrong.append(span)
        if "greeter" in span:
            continue  # of the project that first-ta.md makes
        place = re.fullmatch(rf"((?:{'|'.join((*PACKAGES, 'tests', 'docs', 'tools', 'contrib'))})/[\w./-]*)", span)
        if place and not (ROOT / place[1]).exists() and not re.search(r"/(lib|bin)/", place[1]):
            wrong.append(span)
    assert not wrong


OTHERS_FILES = re.compile(r"(core|ta|tee-supplicant)/|ftrace_format\.py$|.*greeter")
"""Of OP-TEE, and of the project that first-ta.md makes."""


@cache
def sources() -> str:
    """Paths of our files, a line each."""
    folders = (*PACKAGES, "tests", "tools", "contrib")
    return "\n".join(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.*"))


@page
def test_files_in_backticks_exist(path: Path) -> None:
    named = {span for span in spans(path) if re.fullmatch(r"[\w./*-]+\.(c|h|py|S|tsv)", span)}
    wrong = [
        name
        for name in named
        if not OTHERS_FILES.match(name)
        and not re.search(rf"(^|/){re.escape(name)}$".replace(r"\*", "[^/]*"), sources(), re.M)
    ]
    assert not wrong


@cache
def variables() -> set[str]:
    """Of the environment, that our code reads."""
    found = set()
    for package in (*PACKAGES, "tests"):
        for suffix in ("py", "c", "h", "toml", "sh"):
            for source in (ROOT / package).rglob(f"*.{suffix}"):
                found |= set(re.findall(r"\b(?:LITEBOX|XTEST)_[A-Z0-9_]+\b", source.read_text(errors="replace")))
    return found


@page
def test_variables_exist(path: Path) -> None:
    assert not set(re.findall(r"\bLITEBOX_[A-Z0-9_]+\b", path.read_text())) - variables() - {"LITEBOX_TA_SOURCE"}


def shown(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Commands after `$` of indented blocks, with the lines that the page shows below each."""
    lines = path.read_text().split("\n")
    for at, line in enumerate(lines):
        if line.startswith("    $ "):
            output = []
            for below in lines[at + 1 :]:
                if not below.startswith("    ") or below.startswith("    $ "):
                    break
                output.append(below[4:])
            yield line[6:], output


def alone(command: str) -> bool:
    """Whether a command needs nothing but the installation and the files of `desk`."""
    named = r"(run|verify|info)( --trust \S+)? (hello|hello\.ta|mine\.ta)"
    return bool(re.match(rf"litebox-ta ({named}|sign|demo|algorithms|board list|board info \./bad\.toml)\b", command))


def desk(folder: Path) -> None:
    """The files that the pages' examples work on."""
    sample = samples.hello().read_bytes()
    (folder / "hello.ta").write_bytes(sample)
    (folder / "hello.elf").write_bytes(open_container(sample, TrustStore([samples.public_key_file()])).elf)
    shutil.copy(samples.public_key_file(), folder / "vendor.pem")
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(private)
    (folder / "pub.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (folder / "bad.toml").write_text(BAD_BOARD)


def plain(line: str) -> str:
    """Without what differs from run to run: numbers of six digits and more, times, addresses, registers."""
    return re.sub(r"\d+\.\d+|\b(?:0x)?[0-9a-f]{6,}\b", "*", line).rstrip()


def execute(words: list[str], folder: Path) -> str:
    """Standard output, then standard error, of a command in `folder` with a state and configuration of its own."""
    folders = {"XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "LC_ALL": "C.UTF-8", "COLUMNS": "80"}
    # With CI or BUILD_NUMBER set, pytest cuts no line of its summary.
    others = ("LITEBOX_SOCKET", "LITEBOX_BOARDS", "PYTEST_", "XDG_RUNTIME_DIR", "CI", "BUILD_NUMBER")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    done = subprocess.run(
        words, cwd=folder, env=environment | folders, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return done.stdout + done.stderr


def missing(shown: list[str], printed: str) -> list[str]:
    """Lines of a page that a program did not print."""
    lines = {plain(line) for line in printed.splitlines()}
    return [line for line in shown if line.strip() != "..." and plain(line) not in lines]


@pytest.mark.parametrize("path", [path for path in PAGES if any(alone(command) for command, _ in shown(path))], ids=str)
def test_examples_print_what_is_shown(path: Path, tmp_path: Path) -> None:
    desk(tmp_path)
    tool = f"{sys.executable} -m ta_loader.cli"
    for command, output in shown(path):
        if alone(command):
            printed = execute(["sh", "-c", command.replace("litebox-ta", tool, 1)], tmp_path)
            assert not missing(output, printed), f"{command}\n{printed}"


def fenced(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.M | re.S)


def indented(path: Path) -> list[str]:
    """Indented blocks without the indentation; a command's line after `$` begins one."""
    text = re.sub(r"^```.*?^```$", "```", path.read_text(), flags=re.M | re.S)
    blocks = re.findall(r"^    \S.*\n(?:    (?!\$ ).*\n|\n(?=\n*    (?!\$ )))*", text, re.M)
    return [textwrap.dedent(block).rstrip("\n") + "\n" for block in blocks]


@page
def test_python_blocks_are_python(path: Path) -> None:
    for block in fenced(path, "python"):
        ast.parse(block)


def program(path: Path) -> tuple[str, list[str]]:
    """A page's first Python program, and what the page shows of its output: the indented block below it."""
    blocks = fenced(path, "python")
    if blocks:
        return blocks[0], indented(path)[0].splitlines()
    found = indented(path)
    at = next(at for at, block in enumerate(found) if block.startswith("from normal_world import"))
    return found[at], found[at + 1].splitlines()


@pytest.mark.parametrize("name", ["README.md", "docs/python.md", "docs/rpmb.md"])
def test_programs_print_what_is_shown(name: str, tmp_path: Path) -> None:
    text, output = program(ROOT / name)
    printed = execute([sys.executable, "-c", text], tmp_path)
    assert output
    assert not missing(output, printed), printed


def test_the_script_of_the_page_on_the_command_line_passes(tmp_path: Path) -> None:
    desk(tmp_path)
    (tmp_path / "tas").mkdir()
    (tmp_path / "message.bin").write_bytes(b"a message")
    (tmp_path / "steps.toml").write_text(fenced(ROOT / "docs/cli.md", "toml")[0])
    printed = execute([sys.executable, "-m", "ta_loader.cli", "run", "--script", "steps.toml", "--json"], tmp_path)
    report, _ = json.JSONDecoder().raw_decode(printed)
    assert (report["exit"], len(report["steps"])) == (0, 5), printed


def test_the_python_plugin_remembers() -> None:
    names: dict[str, Any] = {}
    exec(next(block for block in fenced(ROOT / "docs/supplicant.md", "python") if "class Notes" in block), names)
    plugin, answer = names["Notes"](), bytearray(20)
    assert plugin.invoke(2, 0, memoryview(bytearray(b"remember me"))) == (0, 0)
    assert plugin.invoke(3, 0, memoryview(answer)) == (0, 11)
    assert answer[:11] == b"remember me"


def run_pytest(folder: Path, *words: str) -> str:
    return execute([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words], folder)


def test_the_page_on_pytest(tmp_path: Path) -> None:
    path = ROOT / "docs/pytest.md"
    (tmp_path / "pyproject.toml").write_text(fenced(path, "toml")[0])
    tests, fixture = fenced(path, "python")
    deaths, leak = (
        next(block for block in indented(path) if start in block) for start in ("expect_panic(", "test_leak(")
    )
    (tmp_path / "test_hello.py").write_text(tests)
    (tmp_path / "test_deaths.py").write_text(deaths)
    (tmp_path / "test_leak.py").write_text(leak)
    (tmp_path / "test_own.py").write_text(
        f"import pytest\n\n{fixture}\n\ndef test_own(session):\n    session.invoke(7)\n"
    )

    examples = dict(shown(path))
    printed = run_pytest(tmp_path, "test_hello.py")
    assert not missing(examples["pytest -q"], printed), printed
    command = "pytest -q --litebox-leaks error test_leak.py"
    printed = run_pytest(tmp_path, *command.split()[2:])
    assert not missing(examples[command], printed), printed
    printed = run_pytest(tmp_path, "test_deaths.py", "test_own.py")
    assert "3 passed" in printed, printed


def test_tests_of_the_page_on_boards(tmp_path: Path) -> None:
    block = next(block for block in indented(ROOT / "docs/boards.md") if "def test_kernel(shell)" in block)
    (tmp_path / "test_board.py").write_text(f"import pytest\n\n{block}")
    printed = run_pytest(tmp_path, "--board", "host", "-k", "test_kernel", "test_board.py")
    assert "1 passed" in printed, printed

    output = next(
        output for command, output in shown(ROOT / "docs/boards.md") if command.startswith("pytest -q test_board")
    )
    test = next(line for line in output if line.startswith(">"))[1:].strip()
    (tmp_path / "test_host.py").write_text(f"def test_fails(shell):\n    {test}\n")
    printed = run_pytest(tmp_path, "--board", "host", "test_host.py")
    of_host = output[next(at for at, line in enumerate(output) if "test_fails[host]" in line) :]
    assert not missing([line for line in of_host if "test_fails[host]" not in line], printed), printed


def metrics() -> set[str]:
    source = (ROOT / "normal_world/daemon/metrics.py").read_text()
    return {f"{PREFIX}{name}" for name in re.findall(r'(?:Family|_count)\(\s*"(\w+)"', source)}


def settings() -> set[str]:
    """Of pytest's configuration."""
    source = (ROOT / "normal_world/pytest_plugin.py").read_text()
    return {f"litebox_{name}" for name in re.findall(r'^        \("(\w+)", "(?:paths|string)"', source, re.M)}


def protocols() -> set[str]:
    """Of the South."""
    return set(re.findall(r"^class (\w+)\(.*\bProtocol\)", (ROOT / "south/platform.py").read_text(), re.M))


@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("python.md", set(LocalOptions._fields)),
        ("cli.md", script.TOP | script.STEP),
        ("linux-host.md", set(Limits._fields)),
        ("daemon.md", metrics()),
        ("pytest.md", settings()),
        ("architecture.md", protocols()),
    ],
)
def test_lists_are_complete(name: str, items: set[str]) -> None:
    """What a page lists in a table or a sentence is all there is in the code."""
    text = (ROOT / "docs" / name).read_text()
    assert items
    assert not {item for item in items if not re.search(rf"`{item}\b", text)}
