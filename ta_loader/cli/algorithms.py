"""`litebox-ta algorithms`: what cryptography TAs are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ta_loader.cli import exits
from ta_loader.cli.options import Command, Option
from tee.services.crypto_supported import supported

if TYPE_CHECKING:
    from ta_loader.cli.options import Arguments


def run(arguments: Arguments) -> int:
    rows = supported()
    if arguments.switch("--json"):
        from ta_loader.cli.output import print_json

        print_json(
            [
                {
                    "name": row.algorithm.name,
                    "number": int(row.algorithm),
                    "served": row.served,
                    "reason": row.reason,
                    "limit": row.limit,
                }
                for row in rows
            ]
        )
        return exits.OK
    for row in rows:
        served = ", ".join(filter(None, ("served", row.limit))) if row.served else row.reason
        print(f"{int(row.algorithm):#010x}  {row.algorithm.name:36} {served}")
    return exits.OK


COMMAND = Command(
    name="algorithms",
    summary="List the cryptographic algorithms of the TEE, and why some are not served.",
    words=(),
    options=(Option("--json", "", "print a JSON list instead of text"),),
    run=run,
)
