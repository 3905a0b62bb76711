"""`litebox-ta docs`: the documentation's pages, where they were installed."""

from __future__ import annotations

import os
import sysconfig
from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option
from ta_loader.inputs import read_input

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments

_CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_INSTALLED = os.path.join("share", "doc", "litebox-ta")
"""Below the installation's prefix: where setup.py puts them."""


def folder() -> str:
    """The folder with README.md and docs/: of the checkout, or of the installation. UsageError: there is none."""
    for base in (_CHECKOUT, os.path.join(sysconfig.get_path("data"), _INSTALLED)):
        if os.path.isfile(os.path.join(base, "docs", "cli.md")):
            return base
    raise UsageError("the documentation was not installed with this package; it is in the source's folder docs")


def pages() -> dict[str, str]:
    """Paths by name."""
    base = folder()
    below = os.path.join(base, "docs")
    found = {name.removesuffix(".md"): os.path.join(below, name) for name in sorted(os.listdir(below))}
    return {"readme": os.path.join(base, "README.md"), **found}


def run(arguments: Arguments) -> int:
    known = pages()
    if not arguments.words:
        for name, path in known.items():
            print(path if arguments.switch("--path") else f"{name:28}{_title(path)}")
        return exits.OK
    name = os.path.basename(arguments.words[0]).removesuffix(".md").lower()
    if name not in known:
        raise UsageError(f"there is no page {name!r}; there are {', '.join(known)}")
    print(known[name] if arguments.switch("--path") else read_input(known[name], "page").decode(), end="")
    if arguments.switch("--path"):
        print()
    return exits.OK


def _title(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.readline().lstrip("# ").rstrip()


COMMAND = Command(
    name="docs",
    summary="Print a page of the documentation, or list the pages.",
    words=("[PAGE]",),
    options=(Option("--path", "", "print where it is instead"),),
    run=run,
    epilog="""\
examples:
  litebox-ta docs
  litebox-ta docs first-ta | less""",
)
