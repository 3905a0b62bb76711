"""`python -m tests.bench [--save NAME] [--compare A B] [NAME...]`: prints JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from typing import TYPE_CHECKING

from tests.bench import applets, asymmetric, crypto, daemon, engine, guest, qemu_arm, storage
from tests.bench.measure import Figure, processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = "bench"
_FIRST = """
import sys
from south.linux_host import linux_host
from ta_loader import samples
from ta_loader.source import Loader
from ta_loader.store import TaStore
from ta_loader.trust import TrustStore
from tee.world import SecureWorld
from south.platform import Arch
store = TaStore([samples.FOLDER], TrustStore([samples.public_key_file()]))
world = SecureWorld(linux_host(sys.argv[1]), Loader(store))
assert not world.open_session(samples.HELLO[Arch.AARCH64]).result
print(int(open("/proc/self/statm").read().split()[1]) * 4096)
"""


def start_up(bench: guest.Bench) -> Iterator[Figure]:
    bare = [sys.executable, "-c", "pass"]
    tool = os.path.join(os.path.dirname(sys.executable), "litebox-ta")
    run = [tool, "run", "hello", "--invoke", "0", "value:41"]
    environment = dict(os.environ)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["XDG_STATE_HOME"] = bench.state
    floor, whole = processes([bare, run])
    os.environ.clear()
    os.environ.update(environment)
    yield Figure(
        "litebox-ta run hello, whole process (floor: python -c pass)", "ms", whole * 1e3, "<= 5.5 x", floor * 1e3
    )


def first_instance(bench: guest.Bench) -> Iterator[Figure]:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", _FIRST, tempfile.gettempdir()], check=True, capture_output=True, text=True
    )
    yield Figure("memory of a process with its first TA", "MB", int(done.stdout) / 1e6, "<= 60 MB")


GROUPS: dict[str, Callable[[guest.Bench], Iterator[Figure]]] = {
    "start": start_up,
    "open": guest.opening,
    "invoke": guest.invoke,
    "calls": guest.calls,
    "compute": guest.compute,
    "gcm": crypto.gcm,
    "asymmetric": asymmetric.asymmetric,
    "threads": guest.threads,
    "restore": engine.restore,
    "memory": guest.memory,
    "first": first_instance,
    "daemon": daemon.daemon,
    "applets": applets.applets,
    "client": daemon.c_client,
    "storage": storage.storage,
    "qemu": qemu_arm.exchange,
}


def compare(first: str, second: str) -> dict[str, object]:
    """Per figure: both values and second / first."""
    runs = []
    for name in (first, second):
        with open(os.path.join(FOLDER, f"{name}.json")) as file:
            runs.append({f["name"]: f["value"] for f in json.load(file)["figures"]})
    return {
        name: [a, runs[1][name], round(runs[1][name] / a, 3)] for name, a in runs[0].items() if name in runs[1] and a
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure, and print JSON.")
    parser.add_argument("groups", nargs="*", metavar="NAME", help=f"only these: {', '.join(GROUPS)}")
    parser.add_argument("--save", metavar="NAME", help=f"also write {FOLDER}/NAME.json")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="compare two saved runs")
    options = parser.parse_args()
    if options.compare:
        print(json.dumps(compare(*options.compare), indent=1))
        return 0
    figures = []
    with tempfile.TemporaryDirectory() as state:
        bench = guest.Bench(state)
        for name in options.groups or GROUPS:
            print(f"measuring {name}...", file=sys.stderr)
            figures += [figure.as_json() for figure in GROUPS[name](bench)]
        bench.world.close()
    report = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "figures": figures,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.save:
        os.makedirs(FOLDER, exist_ok=True)
        with open(os.path.join(FOLDER, f"{options.save}.json"), "w") as file:
            file.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
