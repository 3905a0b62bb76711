"""The `litebox-ta` command line: the composition root of what runs TAs on this host.

`main` is the console script. Another package adds a subcommand by an entry point of group
`litebox_ta.commands` that names a `Command`.
"""

from __future__ import annotations

from ta_loader.cli.dispatch import main
from ta_loader.cli.options import Arguments, Command, Option

__all__ = ["Arguments", "Command", "Option", "main"]
