"""`litebox-ta status`: what a daemon is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normal_world.protocol import default_socket
from north.text import visible_line
from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments


def run(arguments: Arguments) -> int:
    from normal_world.daemon.status import fetch, lines

    found = fetch(arguments.one("--socket") or default_socket())
    if arguments.switch("--metrics"):
        from normal_world.daemon.metrics import render

        print(render(found), end="")
    elif arguments.switch("--json"):
        from ta_loader.cli.output import print_json

        print_json(found)
    else:
        for line in lines(found):
            print(visible_line(line))  # a client chooses the path of its program
    return exits.OK


COMMAND = Command(
    name="status",
    summary="Show the clients, sessions, instances and memory of a daemon (litebox-ta serve).",
    words=(),
    options=(
        Option("--socket", "PATH", "the daemon's socket (default: $LITEBOX_SOCKET, the user's, the system's)"),
        Option("--json", "", "print one JSON object"),
        Option("--metrics", "", "print metrics in Prometheus' text format"),
    ),
    run=run,
    epilog="Clients of other users are shown to root and to the daemon's own user alone.",
)
