"""The normal world: everything a client of a trusted application touches.

Its rooms: `libteec/`, a drop-in library for C programs; `daemon/`, which serves it over a Unix socket
(`protocol.py`); `supplicant/`, services that the secure world calls back for; `run_with/`, a program with
a daemon of its own; `cli/`, the subcommands. `compose.py` puts them together.

It may import `ta_loader`, `tee`, `north` and `south`, and only `boards` imports it.
"""
