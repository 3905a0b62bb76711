"""Where a sysroot has plugins of tee-supplicant."""

from __future__ import annotations

import sys
from pathlib import Path

from normal_world.supplicant.plugins import files_in, keeper_command
from normal_world.supplicant.plugins_c import PluginRefused
from south.errors import UsageError

PLACES = ("usr/lib/tee-supplicant/plugins", "usr/lib/*/tee-supplicant/plugins")
"""Debian's, and that of a build by hand with a multiarch libdir (optee_client tee-supplicant/CMakeLists.txt,
CFG_TEE_PLUGIN_LOAD_PATH)."""


def folders_of(sysroot: str) -> list[str]:
    """The folders where a tee-supplicant in `sysroot` would look, if what they hold can be started here. If not, that
    is told, and no error: nobody asked for them by name.
    """
    found = [str(folder) for place in PLACES for folder in sorted(Path(sysroot).glob(place)) if folder.is_dir()]
    try:
        for path in (path for folder in found for path in files_in(folder)):
            try:
                keeper_command(path, sysroot)
            except PluginRefused:
                pass  # the daemon will say so, and go on with the others
    except UsageError as problem:
        print(f"litebox-ta: plugins in {sysroot} are left out: {problem}", file=sys.stderr)
        return []
    return found
