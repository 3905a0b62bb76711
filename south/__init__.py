"""What hosts provide: platform protocols, CPU engines with the C dispatcher, one folder a platform.

`platform` holds the protocols, `errors` what a caller did wrong. They are the ground floor: every
package may import them, and they import nothing of ours. `engine` runs guest code: Unicorn behind
our own extension, with the region table, the watchdog and the turns in C. `linux_host` makes every
protocol on an ordinary Linux machine.

A platform never imports `tee`, `north` or `ta_loader`; it is handed a callable by the composition
root. `engine/csrc/dispatch.h` is the seam to whoever serves system calls: the engine knows no TEE.
"""
