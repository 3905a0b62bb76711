"""An image that cannot be loaded. What its caller did wrong is a `south.errors.UsageError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tee.abi.results import SECURITY
from tee.errors import TeeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tee.abi.results import Result


class ImageRefused(TeeError):
    """A TA image failed a check; `result` is what OP-TEE's core would answer, TEE_ERROR_SECURITY as a rule.

    check: which one, one word ("magic", "size", "hash", "signature", "depth", "uuid", "version", ...).
    reason: one sentence for a person. key: the key that the check was made with. tried: keys that did not match.
    path: file of the image, where there is one.
    """

    def __init__(
        self,
        check: str,
        reason: str,
        *,
        result: Result = SECURITY,
        key: str = "",
        tried: Sequence[str] = (),
        path: str = "",
    ) -> None:
        self.check = check
        self.reason = reason
        self.key = key
        self.tried = tuple(tried)
        self.path = path
        parts = [f"{path}: " if path else "", f"{check} check failed: {reason}"]
        if key:
            parts.append(f" [key: {key}]")
        if self.tried:
            parts.append(f" [tried: {', '.join(self.tried)}]")
        super().__init__(result, "".join(parts))

    def at(self, path: str) -> ImageRefused:
        """The same refusal, naming the file it is about."""
        return ImageRefused(
            self.check, self.reason, result=self.result, key=self.key, tried=self.tried, path=self.path or path
        )
