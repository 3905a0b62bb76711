"""What hosts provide: platform protocols, CPU engines with the C dispatcher, one folder a platform.

`platform` holds the protocols and is the ground floor: everything may import it, and it imports
nothing of ours. `engine` runs guest code: Unicorn behind our own extension, with the region table,
the watchdog and the turns in C. `linux_host` makes every protocol on an ordinary Linux machine.

A platform never imports `tee`, `north` or `ta_loader`; it is handed a callable by the composition
root. `engine/csrc/dispatch.h` is the seam to whoever serves system calls: the engine knows no TEE.
"""
