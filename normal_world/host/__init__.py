"""Composition: a platform, a store of TAs, a secure world and a supplicant's services, put together for one process.

The Python API, the daemon, the pytest plugin and the commands all get their secure world here. `setup.Setup` says what
one is made of; `compose.Host` makes it and closes it; `daemon.DaemonHost` is the one that serves others. `store` finds
TAs by name, `keys` their encryption keys, `images` keeps why TAs were refused, and `trace` records system calls.
"""
