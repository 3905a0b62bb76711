"""docs/first-ta.md, gone through as a reader does: its commands, its C and its tests, with Debian's kit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.threads import PATIENCE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/first-ta.md").read_text()
COMPILER = "aarch64-linux-gnu-gcc"
UUID = "8aaaf200-2450-11e4-abe2-0002a5d5c51b"


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bin_folder = os.path.dirname(sys.executable)
        self.environment = {
            **os.environ,
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
        }
        # What a make that runs these tests was given is not meant for the project's make.
        for name in ("PYTEST_XDIST_WORKER", "PYTEST", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"):
            self.environment.pop(name, None)

    def shell(self, command: str, code: int = 0) -> str:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=10 * PATIENCE,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))


def blocks(language: str) -> list[str]:
    """The page's fenced blocks, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.usefixtures("debian_kit")
def test_the_page(tmp_path: Path) -> None:
    if shutil.which(COMPILER) is None:
        pytest.skip(f"{COMPILER} is not installed")
    new, _, kit, make, run, test = re.findall(r"^    \$ (litebox-ta (?:new|kit) .*|cd .*|make.*)$", PAGE, re.M)
    desk = Project(tmp_path)
    desk.environment.pop("TA_DEV_KIT_DIR", None)
    desk.shell(f"{new} --uuid {UUID}")
    project = Project(tmp_path / "greeter")
    assert project.shell(kit).strip() == project.shell("litebox-ta kit kit").strip()
    project.shell(make)
    assert (project.folder / f"build/{UUID}.ta").exists()
    assert (project.folder / "keys/ta.pem").stat().st_mode & 0o077 == 0
    shown = project.shell(run)
    assert re.search(r"D/TA: +increment:\d+ increment 41", shown)
    assert "value a=42" in shown
    assert "8 passed" in project.shell(test)

    define, function, case, check = blocks("c")
    days, refusal = blocks("python")
    project.edit("ta/include/greeter.h", "#define GREETER_CMD_HASH 1\n", f"#define GREETER_CMD_HASH 1\n{define}")
    entry = "TEE_Result TA_InvokeCommandEntryPoint"
    project.edit("ta/greeter.c", entry, f"{function}\n{entry}")
    project.edit("ta/greeter.c", "\tdefault:\n", f"{case}\tdefault:\n")
    with (project.folder / "tests/test_greeter.py").open("a") as tests:
        tests.write(f"\n\n{days}")
    assert "9 passed" in project.shell(test)

    attack = re.search(r"^    \$ (litebox-ta run .* --invoke 2 .*)$", PAGE, re.M)
    assert attack
    report = project.shell(attack[1], 3)
    assert "TEE_ERROR_TARGET_DEAD" in report
    assert "fault" in report
    source = (project.folder / "ta/greeter.c").read_text().splitlines()
    place = re.search(r"#0 .*greeter\.c:(\d+)", report)
    assert place, report
    assert "days_of[params[0].value.a - 1]" in source[int(place[1]) - 1]

    look = "\tparams[0].value.b = days_of"
    project.edit("ta/greeter.c", look, check + look)
    with (project.folder / "tests/test_greeter.py").open("a") as tests:
        tests.write(f"\n\n{refusal}")
    assert "13 passed" in project.shell(test)
    trace = re.search(r"`(litebox-ta run [^`]*--trace[^`]*)`", PAGE)
    assert trace
    assert "hash_final" in project.shell(trace[1])


@pytest.mark.slow
@pytest.mark.usefixtures("debian_kit")
def test_the_ci_recipe(tmp_path: Path) -> None:
    """The recipes' step installs a copy of this checkout into an environment of its own, builds and tests."""
    if shutil.which(COMPILER) is None:
        pytest.skip(f"{COMPILER} is not installed")
    ask = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(tmp_path / "asked"), "setuptools>=77"]
    if subprocess.run(ask, capture_output=True, check=False).returncode:
        pytest.skip("pip reaches no package index")
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "*.so", "tests", "build", "dist", "bench"))
    Project(tmp_path).shell("litebox-ta new greeter")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "id").write_text("#!/bin/sh\necho 1000\n")  # or it would install packages, as root in CI does
    (tools / "id").chmod(0o755)
    project = Project(tmp_path / "greeter")
    project.environment |= {"LITEBOX_TA_SOURCE": str(checkout), "PATH": f"{tools}:{os.environ['PATH']}"}
    (step,) = {
        re.findall(rf"^ *(?:- )?{key}: (.*)$", path.read_text(), re.M)[-1]
        for path, key in (
            (ROOT / "contrib/ci/github-actions.yml", "run"),
            (project.folder / "ci/gitlab-ci.yml", "script"),
        )
    }
    assert "8 passed" in project.shell(step)


@pytest.mark.usefixtures("debian_kit")
def test_the_image(tmp_path: Path) -> None:
    """What contrib/docker/Dockerfile runs at last, and the commands that it is for, here instead of within the image.

    Its other steps install packages: of the system, and of this checkout with the options that the last ones need.
    """
    if shutil.which(COMPILER) is None:
        pytest.skip(f"{COMPILER} is not installed")
    text = (ROOT / "contrib/docker/Dockerfile").read_text()
    steps = re.findall(r"^RUN ((?:.*\\\n)*.*)$", text, re.M)
    installs = [step for step in steps if step.startswith(("apt-get update &&", "python3 -m venv"))]
    assert len(installs) == 3
    extras = re.search(r'pip install --no-cache-dir "/src\[(.*)\]" pytest', text)
    assert extras
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert {*extras[1].split(",")} <= tomllib.load(file)["project"]["optional-dependencies"].keys()
    (kit,) = [step for step in steps if step not in installs]
    desk = Project(tmp_path)
    assert Path(desk.shell(kit).strip()).is_dir()

    (entry,), (default,) = (json.loads(found) for found in re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$", text, re.M))
    assert "usage: litebox-ta" in desk.shell(f"{entry} {default}")
    first, second = re.findall(r"^#   docker run --rm (.*)$", text, re.M)
    assert "panicked" in desk.shell(f"{entry} {first.removeprefix('litebox-ta ')}")
    make = re.fullmatch(r'-v "\$PWD:/work" -w /work --entrypoint (\w+) litebox-ta (\w+) .*', second)
    assert make
    desk.shell("litebox-ta new mine")
    assert "8 passed" in Project(tmp_path / "mine").shell(f"{make[1]} {make[2]}")
