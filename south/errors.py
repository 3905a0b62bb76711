"""What our caller did wrong. Every package raises it, so it lies on the ground floor and imports nothing of ours."""

from __future__ import annotations


class UsageError(Exception):
    """The caller named something that cannot be used: a file, an option, a configuration. The message says what to do.

    `litebox-ta` prints it and exits with 2. No TA, board or guest causes one (`tee.errors.TeeError`,
    `boards.errors.TargetError`).
    """
