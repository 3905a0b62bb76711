"""`litebox-ta run` on the bundled sample: outputs, exit codes, JSON, traces, crash reports."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from south.platform import Arch
from ta_loader import samples
from tests.tas import cryptdrv, hogs, prof
from tests.threads import PATIENCE, cpu_seconds, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ta_loader.cli.conftest import Done

    Cli = Callable[..., Done]

HELLO = str(samples.HELLO[Arch.AARCH64])
ABC = hashlib.sha256(b"abc").digest()


@pytest.mark.parametrize("name", ["hello", "hello-arm"])
def test_value(cli: Cli, name: str) -> None:
    done = cli("run", name, "--invoke", "0", "value:41,7", "--invoke", "0", "value:0xffffffff")
    assert done.code == 0, done.err
    assert "[0] value a=42 (0x2a) b=7 (0x7)" in done.out
    assert "[0] value a=0 (0x0)" in done.out


def test_hash_and_out_file(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "digest"
    done = cli("run", "hello", "--invoke", "1", "in:str:abc", "out:40", "--out", str(out))
    assert done.code == 0
    assert out.read_bytes() == ABC
    assert ABC[:8].hex(" ") in done.out
    assert "memref 32 bytes" in done.out


def test_nth_out_is_nth_memref(cli: Cli, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in "ab"]
    calls = ["--invoke", "1", "in:str:abc", "out:32", "--invoke", "3", "in:str:x", "out:32"]
    assert cli("run", "hello", *calls, "--out", files[0], "--out", files[1]).code == 0
    assert (tmp_path / "a").read_bytes() == ABC
    assert (tmp_path / "b").read_bytes() == hashlib.sha256(b"x").digest()


def test_json(cli: Cli) -> None:
    done = cli("run", "hello", "--json", "--invoke", "1", "in:str:abc", "out:32", "--invoke", "0", "value:1,2")
    top = done.json
    assert (done.code, top["exit"], top["ta"]) == (0, 0, "hello")
    opened, hashed, value = top["steps"]
    assert (opened["step"], opened["ta"], opened["result"], opened["origin"]) == (
        "open", HELLO, "TEE_SUCCESS", "TRUSTED_APP",
    )  # fmt: skip
    assert hashed["command"] == 1
    assert hashed["params"] == [{"kind": "in", "size": 3}, {"kind": "out", "size": 32, "hex": ABC.hex()}]
    assert value["params"] == [{"kind": "value", "a": 2, "b": 2}]
    assert all(step["seconds"] > 0 for step in top["steps"])


def test_ta_error(cli: Cli) -> None:
    done = cli("run", "hello", "--invoke", "0", "--invoke", "7")
    assert done.code == 1
    assert "invoke 0: TEE_ERROR_BAD_PARAMETERS (0xffff0006), origin TRUSTED_APP" in done.out
    assert "invoke 7" not in done.out  # the first failure ends the run


def test_short_buffer_tells_the_size(cli: Cli) -> None:
    done = cli("run", "hello", "--invoke", "1", "in:str:abc", "out:8")
    assert done.code == 1
    assert "needs 32 bytes, 8 were offered" in done.out


def test_null_memref(cli: Cli) -> None:
    assert cli("run", "hello", "--invoke", "1", "in:str:abc", "out:null").code == 1
    assert cli("run", "hello", "--invoke", "7", "null", "inout:null", "none", "value-out").code == 0


def test_panic(cli: Cli) -> None:
    done = cli("run", "hello", "--invoke", "2", "value-in:0xffff0006")
    assert done.code == 3
    assert "panicked with code 0xffff0006 (TEE_ERROR_BAD_PARAMETERS)" in done.err
    assert re.search(r"#0 .*!ta_panic\+0x", done.err)
    assert re.search(r"#1 .*!ta_invoke\+0x", done.err)
    assert re.search(r"  pc [0-9a-f]{16}", done.err)
    assert re.search(r"0x[0-9a-f]+-0x[0-9a-f]+ rw- +16 KiB  stack", done.err)


def test_fault_in_json(cli: Cli) -> None:
    done = cli("run", "hello", "--json", "--invoke", "10", "value-in:0x1000,0x7f", "value-in:1")
    assert done.code == 3
    crash = done.json["steps"][1]["crash"]
    assert crash["kind"] == "fault"
    assert "0x7f00001000" in crash["detail"]
    assert crash["registers"]["pc"] == crash["backtrace"][0]["pc"]
    assert any(region["name"] == "stack" for region in crash["regions"])


def test_time_limit(cli: Cli) -> None:
    start = time.thread_time()
    done = cli("run", "hello", "--timeout", "0.1", "--invoke", "6")
    assert done.code == 5
    assert "stopped at a limit" in done.err
    assert time.thread_time() - start < 5


def test_refused(cli: Cli, tmp_path: Path) -> None:
    path = str(samples.hello())
    done = cli("run", path)
    assert done.code == 4
    assert "signature check failed" in done.err
    assert "--trust" in done.err
    assert cli("run", path, "--trust", str(samples.public_key())).code == 0
    image = bytearray(samples.hello().read_bytes())
    image[-1] ^= 1
    changed = tmp_path / f"{HELLO}.ta"
    changed.write_bytes(image)
    done = cli("run", str(changed), "--trust", str(samples.public_key()), "--json")
    assert (done.code, done.json["exit"]) == (4, 4)
    assert done.json["error"]["kind"] == "refused"
    assert "hash check failed" in done.json["error"]["message"]
    done = cli("run", HELLO, "--ta-dir", str(tmp_path), "--trust", str(samples.public_key()))
    assert done.code == 4
    assert "hash check failed" in done.err


def test_any_file_name_and_ta_dir(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "some.bin").write_bytes(samples.hello().read_bytes())
    trust = ("--trust", str(samples.public_key()), "--invoke", "0", "value:1")
    assert cli("run", str(tmp_path / "some.bin"), *trust).code == 0
    assert cli("run", HELLO, "--ta-dir", str(samples.FOLDER), *trust).code == 0
    assert cli("run", HELLO.replace("-", "").upper(), "--ta-dir", str(samples.FOLDER), *trust).code == 0


def test_the_samples_key_opens_nothing_else(cli: Cli, tmp_path: Path) -> None:
    """Its private half is public: trust in it must not reach beyond the bundled files."""
    script = tmp_path / "s.toml"
    script.write_text(f'ta_dirs = ["{samples.FOLDER}"]\n[[step]]\nopen = "hello"\n'
                      f'[[step]]\nopen = "{samples.HELLO[Arch.ARM]}"\nsession = "arm"\n')  # fmt: skip
    done = cli("run", "--script", str(script))
    assert done.code == 4
    assert "no key is trusted" in done.err


def test_not_found(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "00000000-1111-2222-3333-444444444444", "--ta-dir", str(tmp_path))
    assert done.code == 2
    assert "--ta-dir" in done.err
    assert cli("run", "nothing.ta").code == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run", "needs a TA"),
        ("run hello --invoke x", "not a number"),
        ("run hello --invoke 0 value", "not a parameter"),
        ("run hello --out a", "only 0"),
        ("run hello --open none --open none", "only once"),
        ("run hello --ta-dir /nonexistent", "no such folder"),
        ("run hello --trust /nonexistent", "the key /nonexistent: cannot be read: No such file"),
        ("run hello --memory 1", "at least 1M"),
        ("run hello --enc-key 00", "64 hexadecimal digits"),
        ("run hello --elf /nonexistent", "No such file"),
        ("run hello --login god", "not a login method"),
        ("run hello --script x", "drop TA"),
        ("runn", "did you mean run"),
        ("run hello --frob", "no option --frob"),
        ("info /nonexistent", "No such file"),
    ],
)
def test_usage(cli: Cli, line: str, message: str) -> None:
    done = cli(*line.split())
    assert done.code == 2
    assert message in done.err
    assert done.err.startswith("litebox-ta: ")


def test_small_memory_is_a_limit(cli: Cli) -> None:
    done = cli("run", "hello", "--memory", "1M", "--invoke", "0", "value:1")
    assert done.code == 0, done.err  # the sample is small


@pytest.mark.parametrize("text", ["in:zero:2G", "out:2G", "inout:2G", "inout:str:a,2G"])
def test_more_memory_than_a_ta_has_addresses_for(tmp_path: Path, text: str) -> None:
    """Within 1 GiB of address space of our own: none of it is allocated."""
    command = [sys.executable, "-m", "ta_loader.cli", "run", "hello", "--state", str(tmp_path), "--invoke", "13", text]
    limit = (1 << 30, 1 << 30)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, limit),
    )
    assert (done.returncode, done.stderr) == (
        5,
        "litebox-ta: 2147483648 bytes of memory: a TA has 1073741824 of addresses\n",
    )
    assert "invoke 13: TEE_ERROR_OUT_OF_MEMORY" in done.stdout


def test_quiet_and_log(cli: Cli) -> None:
    loud, quiet = (cli("run", "hello", "--invoke", "5", "in:str:spoken", *more) for more in ((), ("--quiet",)))
    assert "spoken" in loud.err
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_trace_lines(cli: Cli) -> None:
    done = cli("run", "hello", "--trace", "--invoke", "1", "in:str:abc", "out:32")
    lines = [line for line in done.err.splitlines() if "hash_update" in line]
    assert len(lines) == 1
    assert re.fullmatch(
        r" *\d+\.\d{6} 7371bc6b#1 hash_update\(state=0x1, .*616263.*\) = TEE_SUCCESS <\d+\.\d us>( \[C\])?", lines[0]
    )


def test_trace_file(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    assert cli("run", "hello", "--trace-out", str(path), "--invoke", "1", "in:str:abc", "out:32").code == 0
    events = json.loads(path.read_text())["traceEvents"]
    calls = [event for event in events if event["ph"] == "X" and event["cat"].startswith("syscall")]
    client = next(event for event in events if event["name"] == "invoke 1")
    assert {"cryp_state_alloc", "hash_init", "hash_update", "hash_final"} <= {event["name"] for event in calls}
    for event in calls:
        assert event["args"]["result"] == "TEE_SUCCESS"
        assert client["ts"] <= event["ts"]
        assert event["ts"] + event["dur"] <= client["ts"] + client["dur"]
    assert {event["args"]["name"] for event in events if event["name"] == "thread_name"} == {"client", f"TA {HELLO}"}
    assert [item.name for item in tmp_path.iterdir() if item.name.startswith("trace")] == ["trace.json"]


def test_trace_of_a_panic(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    assert cli("run", "hello", "--trace-out", str(path), "--invoke", "2", "value:1").code == 3
    assert any(event["ph"] == "i" for event in json.loads(path.read_text())["traceEvents"])


def test_ctrl_c_stops_a_looping_ta(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ta_loader.cli", "run", "hello", "--invoke", "6"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert eventually(lambda: cpu_seconds(process.pid) > 1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def hog_command(hog: hogs.Hog, folder: Path) -> list[str]:
    """A run that computes in libcrypto for more than five seconds."""
    files = [folder / name for name in ("records", "scratch")]
    for file, data in zip(files, (hog.records, hog.scratch), strict=True):
        file.write_bytes(data)
    ta = str(cryptdrv.path(Arch.AARCH64))
    calls = ["--invoke", hex(cryptdrv.CMD_RAW), *(f"inout:@{file}" for file in files)]
    return ["run", ta, "--trust", str(samples.public_key()), *calls]


@pytest.mark.parametrize("hog", hogs.HOGS.values(), ids=hogs.HOGS)
def test_ctrl_c_ends_what_libcrypto_computes(tmp_path: Path, hog: hogs.Hog) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = [sys.executable, "-m", "ta_loader.cli", *hog_command(hog, tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert eventually(lambda: cpu_seconds(process.pid) > 1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    used = cpu_seconds(process.pid)
    _, err = process.communicate(timeout=PATIENCE)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < used + 2
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("hog", hogs.HOGS.values(), ids=hogs.HOGS)
def test_a_time_limit_ends_what_libcrypto_computes(cli: Cli, tmp_path: Path, hog: hogs.Hog) -> None:
    start = time.thread_time()
    done = cli(*hog_command(hog, tmp_path), "--timeout", "0.5")
    assert time.thread_time() - start < 3
    assert done.code == 5
    assert "stopped at a limit" in done.err


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    command = f"{sys.executable} -m ta_loader.cli run hello --invoke 4 out:4096 2>{tmp_path}/err | true"
    subprocess.run(["sh", "-c", command], check=True, timeout=PATIENCE)
    assert "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.parametrize(("options", "window"), [((), True), (("--address-space", "board"), True),
                                                 (("--address-space", "wide"), False)])  # fmt: skip
def test_address_space(cli: Cli, options: tuple[str, ...], window: bool) -> None:
    done = cli("run", "hello", *options, "--invoke", "2", "value-in:1")
    places = [int(start, 16) for start in re.findall(r"^    (0x[0-9a-f]+)-0x", done.err, re.MULTILINE)]
    assert len(places) > 3
    assert all(0x4000_0000 <= place < 0x8000_0000 for place in places) is window


def test_an_address_space_that_does_not_exist_is_a_usage_error(cli: Cli) -> None:
    done = cli("run", "hello", "--address-space", "huge", "--invoke", "7")
    assert done.code == 2
    assert "--address-space huge: say board or wide" in done.err


def test_profiles_are_left_in_the_folder_named(cli: Cli, tmp_path: Path) -> None:
    uuid, folder = prof.UUIDS[Arch.AARCH64], tmp_path / "a" / "b"
    command = ("run", str(prof.HERE / f"{uuid}.ta"), "--trust", samples.public_key_file(), "--invoke", "2", "value:9")
    done = cli(*command, "--profile-dir", str(folder))
    assert (done.code, done.err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == [f"ftrace-{uuid}.out", f"gmon-{uuid}.out"]
    done = cli(*command, "--profile-dir", str(folder / f"gmon-{uuid}.out"))
    assert done.code == 2
    assert f"--profile-dir {folder}/gmon-{uuid}.out: " in done.err
    done = cli(*command)
    assert f"litebox: a profile of TA {uuid} is lost: --profile-dir names a folder for it" in done.err


def test_demo(cli: Cli) -> None:
    done = cli("demo")
    assert done.code == 0, done.err
    for text in ("a=42", "2c f2 4d ba 5f b0 a3 0e", "panicked with code 0x00c0ffee", "!ta_panic"):
        assert text in done.out


def test_overview_and_entry_points(cli: Cli) -> None:
    done = cli("--help")
    assert done.code == 0
    for name in ("run", "info", "verify", "sign", "encrypt", "symbolize", "demo", "algorithms"):
        assert f"\n  {name}" in done.out
    assert "cannot be loaded" not in done.out


def test_the_run_path_imports_no_more_than_it_needs() -> None:
    """The budget of a whole run is some 50 ms; each of these would take 3 to 50 of them."""
    code = (
        "import sys; from ta_loader.cli import main; assert main(['run', 'hello', '--invoke', '0', 'value:1']) == 0;"
        "print(sorted(set(sys.modules) & set(sys.argv[1:])))"
    )
    heavy = ["argparse", "json", "logging", "dataclasses", "tomllib", "elftools", "cryptography", "unicorn",
             "importlib.metadata", "hashlib", "construct", "tee.storage", "tee.pta.standard", "normal_world.api",
             "normal_world.daemon", "normal_world.supplicant.files", "ipaddress", "socket",
             "tee.pta.ports"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert done.stdout.splitlines()[-1] == "[]"
