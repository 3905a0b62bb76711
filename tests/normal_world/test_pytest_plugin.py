"""The pytest plugin, in pytest runs of their own: a TA project's tests of the sample TA."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ta_loader import samples
from tests.conftest import LEAN

if TYPE_CHECKING:
    from pathlib import Path

    from normal_world.daemon.server import Server

pytest_plugins = ["pytester"]

TESTS = """
    import hashlib
    import pytest
    from normal_world import Memref, TeeError, Value

    def test_increment(session):
        value = Value.inout(41)
        session.invoke(0, value)
        assert value.a == 42

    def test_hash(tee, ta):
        with tee.open_session(ta) as session, tee.allocate(32) as digest:
            session.invoke(1, b"abc", digest_of(digest))
            assert bytes(digest) == hashlib.sha256(b"abc").digest()

    def digest_of(shared):
        return Memref.output(shared)

    def test_unknown_command(session):
        with pytest.raises(TeeError) as error:
            session.invoke(999)
        assert error.value.result.name == "TEE_ERROR_NOT_SUPPORTED"
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A TA project: hello is its TA."""
    pytester.makeini("[pytest]\nlitebox_ta = hello\naddopts = --strict-markers --strict-config -p no:cacheprovider\n")
    return pytester


def run(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    return project.runpytest_subprocess(*LEAN, *options, timeout=120)


def test_a_project(project: pytest.Pytester) -> None:
    project.makepyfile(TESTS)
    result = run(project, "-W", "error")
    result.assert_outcomes(passed=3)


def test_a_failing_test_shows_the_log(project: pytest.Pytester) -> None:
    project.makepyfile("""
        def test_fails(session):
            session.invoke(5, b"the TA was here")
            session.invoke(2, 0xbad)

        def test_passes(session):
            session.invoke(5, b"nobody reads this")

        def test_fails_too(session):
            session.invoke(5, b"and here")
            assert False
    """)
    result = run(project)
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.re_match_lines(
        [
            "-+ secure world log -+",
            ".*the TA was here",
            ".* panicked with code 0x00000bad.*",
            "-+ secure world log -+",
            ".*and here",
        ]
    )
    assert "nobody reads this" not in result.stdout.str()
    assert "TEE_ERROR_TARGET_DEAD" in result.stdout.str()


def test_the_log_is_in_reports_for_machines(project: pytest.Pytester) -> None:
    project.makepyfile('def test_fails(session):\n    session.invoke(5, b"the TA was here")\n    assert False\n')
    project.makeconftest("""
        def pytest_runtest_logreport(report):
            for title, text in report.sections:
                print(f"{report.when}: {title}: {text}")
    """)
    run(project, "-s").stdout.fnmatch_lines(["*call: secure world log: *the TA was here*"])


def test_each_test_has_a_device_of_its_own(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_state(session, tmp_path_factory, number):
            session.invoke(7)
            folder = tmp_path_factory.getbasetemp() / f"litebox{number}"
            assert folder.is_dir()
    """)
    run(project).assert_outcomes(passed=2)


@pytest.mark.parametrize(("leaks", "outcome"), [("warn", "warnings"), ("error", "errors"), ("ignore", "")])
def test_leaks(project: pytest.Pytester, leaks: str, outcome: str) -> None:
    project.makepyfile("""
        kept = []

        def test_leaks(tee, ta):
            kept.append(tee.open_session(ta))
            kept.append(tee.allocate(5000))
            tee.register(bytes(77))
    """)
    result = run(project, f"--litebox-leaks={leaks}")
    counts = {outcome: 1} if outcome else {}
    result.assert_outcomes(passed=1, **counts)
    if outcome:
        text = result.stdout.str()
        assert "5000 bytes of shared memory are open; a session to 7371bc6b" in text
        assert "77 bytes of shared memory were lost without a close" in text


def test_which_ta(pytester: pytest.Pytester) -> None:
    """Marker before option before ini file; each with paths of its own."""
    source = samples.hello()
    (pytester.mkdir("tas") / source.name).write_bytes(source.read_bytes())
    (pytester.mkdir("sub") / "own.ta").write_bytes(source.read_bytes())
    pytester.makefile(
        ".toml",
        pyproject=f"""
        [tool.pytest.ini_options]
        litebox_ta = "tas/{source.name}"
        litebox_ta_dirs = ["tas"]
        litebox_trust = ["{samples.public_key()}"]
    """,
    )
    (pytester.path / "sub" / "test_sub.py").write_text(f"""
import pytest
from uuid import UUID

def test_ini(session, ta):
    assert ta.endswith("tas/{source.name}") or ta == "hello-arm"

@pytest.mark.ta("own.ta")
def test_file(session, ta):
    assert ta.endswith("sub/own.ta")

@pytest.mark.ta(UUID("{source.stem}"))
def test_uuid(session):
    session.invoke(7)

@pytest.mark.ta("hello-arm")
class TestArm:
    def test_sample(self, session):
        assert str(session.uuid).startswith("3df06738")
""")
    run(pytester, "--strict-markers").assert_outcomes(passed=4)
    run(pytester, "--litebox-ta", "hello-arm").assert_outcomes(passed=4)


def test_a_ta_that_is_not_there(pytester: pytest.Pytester) -> None:
    """Of a test's marker or the configuration: known when the test needs it."""
    pytester.makepyfile("""
        import pytest

        def test_no_ta(session):
            pass

        @pytest.mark.ta("nothing.ta")
        def test_no_file(session):
            pass

        @pytest.mark.ta("7371bc6b-0888-4252-9d3b-42ddcbca70f0")
        def test_nobody_has_it(session):
            pass
    """)
    result = run(pytester)
    result.assert_outcomes(errors=3)
    for text in ("which TA?", "nothing.ta: no such TA", "TEE_ERROR_ITEM_NOT_FOUND"):
        assert text in result.stdout.str()


def test_the_reason_comes_first_and_registers_when_asked_for(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it(session):\n    session.invoke(2, 0xbad)\n")
    for options, registers in (((), False), (("-v",), True)):
        text = run(project, *options).stdout.str()
        log = text[text.index("secure world log") :]
        assert log.index("panicked with code 0x00000bad") < log.index("backtrace:") < log.index("ta_panic+0x")
        assert ("registers:" in log) is registers
        assert ("mapped regions:" in log) is registers
        assert ("pytest -v" in log) is not registers


def test_symbols(project: pytest.Pytester, tmp_path: Path) -> None:
    """An option's file, and the one beside the TA."""
    from south.platform import Arch
    from ta_loader.samples import build

    if not build.available(Arch.AARCH64):
        pytest.skip(f"{build.COMPILER[Arch.AARCH64]} is not installed")
    image = build.build(build.hello_recipe(Arch.AARCH64), tmp_path)
    (elf,) = tmp_path.glob("*.elf")
    folder = project.path / "out"
    folder.mkdir()
    (folder / "x.ta").write_bytes(image)
    project.makepyfile("def test_it(session):\n    session.invoke(2, 0xbad)\n")
    options = ("--litebox-ta", "out/x.ta", "--litebox-trust", str(samples.public_key()))
    assert "hello.c:" not in run(project, *options).stdout.str()
    assert "hello.c:" in run(project, *options, "--litebox-elf", str(elf)).stdout.str()
    (folder / elf.name).write_bytes(elf.read_bytes())
    assert "hello.c:" in run(project, *options).stdout.str()


@pytest.mark.parametrize(("option", "ini"), [("wide", "board"), (None, "wide"), ("board", "wide"), (None, None)])
def test_address_spaces(project: pytest.Pytester, option: str | None, ini: str | None) -> None:
    project.makepyfile("def test_it(session):\n    session.invoke(2, 0xbad)\n")
    options = ["-v", *(["--litebox-address-space", option] if option else ())]
    options += ["-o", f"litebox_address_space={ini}"] if ini else []
    said = run(project, *options).stdout.str()
    places = [int(start, 16) for start in re.findall(r"^    (0x[0-9a-f]+)-0x", said, re.MULTILINE)]
    assert len(places) > 3
    assert all(0x4000_0000 <= place < 0x8000_0000 for place in places) is ((option or ini) != "wide")


def test_a_ta_that_hangs_is_stopped(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it(session):\n    session.invoke(6)\n")
    result = run(project, "--litebox-timeout", "0.5")
    result.assert_outcomes(failed=1)
    assert "TEE_ERROR_TARGET_DEAD" in result.stdout.str()


def test_over_a_daemon(project: pytest.Pytester, daemon: tuple[str, Server]) -> None:
    project.makepyfile(TESTS + "\n    def test_fails(session):\n        assert False\n")
    result = run(project, f"--litebox-way=daemon:{daemon[0]}", f"--litebox-ta={samples.hello()}")
    result.assert_outcomes(passed=3, failed=1)
    assert "it goes to the daemon's standard error" in result.stdout.str()


def test_a_device_that_is_not_there(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it(session):\n    pass\n")
    result = run(project, "--litebox-way=device:/nonexistent", "--litebox-ta=7371bc6b-0888-4252-9d3b-42ddcbca70fd")
    result.assert_outcomes(errors=1)
    assert "no OP-TEE at /nonexistent" in result.stdout.str()


def test_who_does_not_use_it_does_not_pay(pytester: pytest.Pytester) -> None:
    """Nor has it fixtures of these names taken: a suite's own override."""
    pytester.makepyfile("""
        import sys
        import pytest

        @pytest.fixture
        def session():
            return "mine"

        def test_it(session):
            assert session == "mine"
            ours = {name for name in sys.modules if name.partition(".")[0] in
                    ("normal_world", "tee", "ta_loader", "south", "north", "cffi", "unicorn", "cryptography")}
            assert ours == {"normal_world", "normal_world.pytest_plugin"}
    """)
    run(pytester, "-W", "error").assert_outcomes(passed=1)


def test_help(pytester: pytest.Pytester) -> None:
    text = run(pytester, "--help").stdout.str()
    for option in ("ta-dir", "trust", "plugin-dir", "ta", "sockets", "timeout", "way", "leaks", "allow-unsigned",
                   "address-space"):  # fmt: skip
        assert re.search(rf"--litebox-{option}\b", text), option
    assert "litebox_ta_dirs (paths)" in text
    fixtures = run(pytester, "--fixtures").stdout.str()
    for name in ("tee", "ta", "session"):
        assert re.search(rf"^{name} -- .*pytest_plugin.py", fixtures, re.MULTILINE), name


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--litebox-ta-dir=absent", "absent: no such folder"),
        ("--litebox-ta-dir=file", "file: no such folder"),
        ("--litebox-plugin-dir=absent", "absent: no such folder"),
        ("--litebox-trust=absent", "absent: no such key"),
        ("--litebox-trust=file", "file: "),
        ("--litebox-trust=.", "keys/default_ta.pem"),
        ("--litebox-elf=absent", "absent: no such file"),
        ("--litebox-elf=file", "not an ELF file"),
        ("--litebox-ta=absent.ta", "absent.ta: no such TA"),
        ("--litebox-timeout=nan", "litebox_timeout: nan"),
        ("--litebox-timeout=inf", "litebox_timeout: inf"),
        ("--litebox-timeout=1e300", "litebox_timeout: 1e300"),
        ("--litebox-timeout=-1", "litebox_timeout: -1"),
        ("--litebox-timeout=soon", "litebox_timeout: soon"),
        ("--litebox-sockets=nowhere", "'nowhere' is not HOST:PORT"),
        ("--litebox-address-space=vast", "litebox_address_space: vast"),
        ("--litebox-way=there", "litebox_way: there"),
        ("--litebox-leaks=some", "litebox_leaks: some"),
        ("--board-symbols=absent", "--board-symbols absent: no such folder"),
        ("--board=absent", "absent"),
        ("--board-var=x", "--board-var x: write NAME=VALUE"),
        ("-olitebox_timeout=nan", "litebox_timeout: nan"),
        ("-olitebox_leaks=some", "litebox_leaks: some"),
    ],
)
def test_what_no_run_can_be_made_of_is_a_usage_error_at_its_start(
    pytester: pytest.Pytester, option: str, message: str
) -> None:
    (pytester.path / "file").write_text("nothing")
    boards = () if option.startswith(("--litebox", "-o", "--board=")) else ("--board=host",)
    with pytest.raises(pytest.UsageError, match=re.escape(message)):
        pytester.parseconfigure(option, *boards)


def test_a_usage_error_is_one_line_before_any_test(project: pytest.Pytester) -> None:
    project.makepyfile(TESTS)
    result = run(project, "--litebox-ta-dir=/nonexist")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --litebox-ta-dir /nonexist: no such folder"])
    result.stdout.no_fnmatch_line("*error*")


def test_paths_of_the_configuration_may_be_made_by_a_fixture(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nlitebox_ta = hello\nlitebox_ta_dirs = built\n")
    project.makepyfile("""
        import pathlib, pytest

        def test_before(tmp_path):
            pass

        @pytest.fixture(scope="session")
        def built():
            pathlib.Path("built").mkdir()

        def test_it(built, session):
            session.invoke(7)
    """)
    run(project, "-k", "before").assert_outcomes(passed=1)
    run(project, "-W", "error").assert_outcomes(passed=2)
