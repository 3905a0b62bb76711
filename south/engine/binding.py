"""The extension module of the engine, and what every user of it needs.

Unicorn's library is loaded at run time from the installed `unicorn` wheel, whose Python package
(50 ms to import) is never touched.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from south.platform import EngineError

_unicorn: Any = importlib.import_module("south.engine._unicorn")  # built by build_unicorn.py
lib: Any = _unicorn.lib
ffi: Any = _unicorn.ffi

_LIBRARY = os.path.join("unicorn", "lib", "libunicorn.so.2")


def check(error: int, what: str) -> None:
    """EngineError with the engine's own words unless `error` is 0."""
    if error:
        raise EngineError(f"{what}: {ffi.string(lib.lb_error_text(error)).decode()}")


def find_library() -> str:
    """Path of Unicorn's library: $LITEBOX_UNICORN, or the one in the installed wheel."""
    given = os.environ.get("LITEBOX_UNICORN")
    if given:
        return given
    for base in sys.path:
        path = os.path.join(base, _LIBRARY)
        if os.path.exists(path):
            return path
    raise EngineError("Unicorn's library was not found; install it: pip install 'unicorn>=2.1.4'")


def load_library() -> None:
    """Load Unicorn's library, once. EngineError."""
    if lib.lb_load_unicorn(find_library().encode()):
        raise EngineError(ffi.string(lib.lb_load_error()).decode())
