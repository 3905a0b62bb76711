"""OP-TEE's message protocol: a normal world's kernel calls by registers and messages in its own memory.

An adapter above `tee.world.SecureWorld`, the same for every machine that hands it calls (`south.platform.Monitor`).
"""
