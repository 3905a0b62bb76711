"""An unmodified arm64 kernel in QEMU as the normal world, this process as its secure world.

`QemuMachine` is the kernel's machine: it starts QEMU and hands calls for the trusted OS to a `south.platform.Monitor`.
`shim.S` runs below the kernel, in EL2, and sends those calls here; `doorbell` is this end of its line, `layout` what
both agree on. What a kernel may try: docs/threat-model-qemu-arm.md.
"""

from __future__ import annotations

from south.qemu_arm.errors import MachineError
from south.qemu_arm.machine import Board, Port, QemuMachine

__all__ = ["Board", "MachineError", "Port", "QemuMachine"]
