"""The agents that come along prebuilt, for boards: `python -m normal_world.agent.prebuilt [--write]` compares them.

The same sources, compiler and C library make the same bytes: no path or time gets in. `sources` beside each says what
it was made from, as everywhere; `made-with` by what.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

from normal_world.agent.build import NAME, PREBUILT, WHAT, build
from normal_world.libteec import BuildError, NoCompiler, compiler, triplet
from south.replacing import temporary_folder

MACHINES = ("aarch64", "arm")
_PIECES = ("Scrt1.o", "crti.o", "crtbeginS.o", "crtendS.o", "crtn.o")
"""Of the compiler and the C library, linked in."""


def made_with(cc: str) -> str:
    """The compiler's version, and a digest of what it links in."""
    digest = hashlib.sha256()
    for name in _PIECES:
        digest.update(Path(_ask(cc, f"-print-file-name={name}")).read_bytes())
    return f"gcc {_ask(cc, '-dumpfullversion')} {digest.hexdigest()[:16]}"


def _ask(cc: str, question: str) -> str:
    return subprocess.run([cc, question], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def compare(machine: str, write: bool) -> bool:
    """Build it and compare; False: it differs. BuildError, OSError."""
    home = PREBUILT / triplet(machine)
    kept, stamp = home / NAME, home / "made-with"
    cc = compiler(machine, WHAT)
    tools = made_with(cc)
    if write:
        build(home, cc)
        stamp.write_text(f"{tools}\n")
    with temporary_folder("litebox-agent") as folder:
        made = build(folder, cc).read_bytes()
    if kept.is_file() and kept.read_bytes() == made:
        verdict = "same"
    elif stamp.is_file() and stamp.read_text().strip() != tools:
        verdict = f"not compared: made with {stamp.read_text().strip()}, here is {tools}"
    else:
        verdict = "DIFFERS"
    print(f"{home.name}/{NAME} {len(made):6} bytes  {verdict}")
    return verdict != "DIFFERS"


def main() -> int:
    parser = argparse.ArgumentParser(description="rebuild the prebuilt agents and compare bit for bit")
    parser.add_argument("--write", action="store_true", help="replace the committed ones")
    options = parser.parse_args()
    code = 0
    for machine in MACHINES:
        try:
            code |= not compare(machine, options.write)
        except NoCompiler as error:
            print(f"left out: {error}")
        except (BuildError, OSError, subprocess.SubprocessError) as error:
            print(error, file=sys.stderr)
            return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
