"""`litebox-ta board guest kernel|initrd|key`: what a virtual machine boots, as a path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from south.errors import UsageError
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments

PARTS = ("kernel", "initrd", "key")


def run(arguments: Arguments) -> int:
    from boards.guest import initrd, kernel, trust_key

    part = arguments.words[0]
    files, tas = ([Path(word).absolute() for word in arguments.many(o)] for o in ("--files", "--ta-dir"))
    if part not in PARTS:
        raise UsageError(f"board guest: there is no {part!r}; there are {', '.join(PARTS)}")
    if (files or tas) and part != "initrd":
        raise UsageError(f"board guest {part}: --files and --ta-dir are for initrd")
    print(initrd(files, tas) if part == "initrd" else kernel() if part == "kernel" else trust_key())
    return exits.OK


COMMAND = Command(
    name="board guest",
    summary="Make the guest of Debian's packages and print the path of a part of it.",
    words=("PART",),
    options=(
        Option("--files", "DIR", "lay this folder over the guest's root", many=True, blank=True),
        Option("--ta-dir", "DIR", "put the <uuid>.ta of this folder beside the test TAs", many=True, blank=True),
    ),
    run=run,
    choices=PARTS,
    epilog="""\
PART is kernel (Debian's, for arm64), initrd (an initramfs with busybox, tee-supplicant, xtest and their TAs), or key
(the public key that these TAs are signed with). Packages come through this machine's apt, without root, and stay in the
cache, $LITEBOX_CACHE or ~/.cache/litebox-ta; LITEBOX_DEBIAN_MIRROR names a mirror where apt has none. An empty DIR
counts as none. A program /etc/litebox/start of yours is run before the shell.

examples:
  litebox-ta board guest kernel
  litebox-ta board guest initrd --ta-dir out/ta --files out/root""",
)
