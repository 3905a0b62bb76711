"""The normal world: everything a client of a trusted application touches.

Its rooms, as they are built: the TEE Client API in Python (contexts, sessions, shared memory), a
drop-in `libteec` for C programs, the daemon that both reach over a Unix socket, and the supplicant
services that the secure world calls back for (files, RPMB, sockets, plugins, time).

It may import `ta_loader`, `tee`, `north` and `south.platform`, and only `boards` imports it. Nothing
that comes from a client is trusted below it, so it does no check that `tee` would have to repeat.

It starts empty: in-process callers use `tee`'s typed entry directly until a client needs more.
"""
