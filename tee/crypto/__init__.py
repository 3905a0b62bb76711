"""Cryptography on libcrypto: typed fronts of the TEE's C part, `tee._native`, and what is derived with it.

`ffi` is the way into C that all share. `task` is what a TA instance owns there, `ready` and `parked` are keys and
objects it keeps there. `keys` is asymmetric cryptography by numbers, `public_key` checks signatures of TAs, `oneshot`
whole messages. `huk` derives keys from the hardware unique key. Which algorithms exist is in tee/services and tee/csrc.
"""
