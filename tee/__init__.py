"""The secure world: sessions, TA instances, GlobalPlatform's Internal Core services, pseudo TAs.

`SecureWorld` (world.py) is what every normal world calls, with typed parameters (params.py).
It is handed its images by an `ImageSource` (ports.py) and its host by a `south.platform.Platform`.
System calls are data (syscalls/), answered by services/ in Python and csrc/ in C.
"""
