"""Processes that run tee-supplicant's C plugins, `<uuid>.plugin`: one each, of the plugin's own architecture.

`csrc/` is the program; `build.py` compiles it for the host and for others, `frames.py` is what goes to and fro.
"""
