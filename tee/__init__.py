"""The secure world: sessions, TA instances, GlobalPlatform's Internal Core services, pseudo TAs.

`world.SecureWorld` is what every normal world calls, with typed parameters (`params`). It is handed
its images by an `ImageSource` (`ports`) and its host by a `south.platform.Platform`.

System calls are data (`syscalls`), answered by `services` in Python and `csrc` in C on OpenSSL's
libcrypto. `pta` holds the pseudo TAs, `abi` constants and layouts alone, each with its source.
`errors.TeeError` is what crosses the API; `observe` tells whoever watches of calls, logs and crashes.
It may import `north` and `south.platform`.
"""
