"""Exit codes of `litebox-ta`."""

from __future__ import annotations

from typing import Final

OK: Final = 0
TA_ERROR: Final = 1
"""The TA returned an error, or a script's step ended otherwise than expected."""
USAGE: Final = 2
DIED: Final = 3
"""Panic or fault."""
REFUSED: Final = 4
"""An image failed a check."""
LIMIT: Final = 5
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""
BROKEN_PIPE: Final = 141
"""128 + SIGPIPE."""
