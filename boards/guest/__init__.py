"""The normal world that we bring along: Debian's kernel, and an initramfs made of Debian's packages.

The image holds busybox, the kernel's drivers for OP-TEE and eMMCs, tee-supplicant with its plugins, xtest with its TAs
and the TA of PKCS#11, our agent for tests of TAs, the libraries that these load, and what the user adds. It is made
once for each content and kept in the cache.
"""

from __future__ import annotations

from boards.guest.image import initrd, kernel, trust_key

__all__ = ["initrd", "kernel", "trust_key"]
