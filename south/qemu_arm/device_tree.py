"""The guest's device tree: QEMU's own of the same board, edited.

`fdt` reads and writes the blob (Devicetree Specification v0.4 §5). It is an optional dependency, imported when it is
used.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Literal

from south.qemu_arm import layout
from south.qemu_arm.errors import MachineError
from south.replacing import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

Conduit = Literal["smc", "hvc"]

_DUMP_SECONDS = 60.0
_GIC_SPI = 0
_LEVEL_HIGH = 4
"""First and third cell of an interrupt (Linux devicetree/bindings/interrupt-controller/arm,gic-v3.yaml)."""
_UART = f"/pl011@{layout.UART_BASE:x}"


def dump(command: Sequence[str]) -> bytes:
    """What QEMU makes for the board that `command` describes: program, options, of them `-M` first.

    MachineError with QEMU's words if it refuses.
    """
    program, machine, board, *rest = command
    # QEMU writes the file by renaming another over it, so an inherited descriptor will not do.
    with temporary_folder("litebox-dtb") as folder:
        file = folder / "board.dtb"
        try:
            done = subprocess.run(
                [program, machine, f"{board},dumpdtb={file}", *rest],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_DUMP_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MachineError(f"{program} took more than {_DUMP_SECONDS:g} s to describe its board") from None
        if done.returncode or not file.is_file():
            said = done.stderr.decode("utf-8", "replace").strip()
            raise MachineError(f"{program} ended with status {done.returncode}: {said}")
        return file.read_bytes()


def edit(blob: bytes, conduit: Conduit = "smc", shared: tuple[int, int] | None = None) -> bytes:
    """The tree for a kernel with our secure world under it. shared: address and bytes of memory set aside for calls.

    The PL011 is the doorbell and no longer the console; the shim's pages are reserved; the firmware node makes Linux's
    driver look for a trusted OS (Documentation/devicetree/bindings/arm/firmware/linaro,optee-tz.yaml). QEMU itself
    fills in memory, command line, initrd and PSCI.
    """
    try:
        import fdt
    except ImportError:
        raise MachineError(
            "the package fdt is not installed, which edits the guest's device tree: pip install 'fdt>=0.3.3,<0.4'"
        ) from None
    tree = fdt.parse_dtb(blob)
    if not tree.exist_node(_UART):
        raise MachineError(f"QEMU's board has no {_UART}: not the virt machine")
    tree.set_property("status", "disabled", _UART)
    for name in ("stdout-path", "linux,stdout-path"):
        if tree.exist_property(name, "/chosen"):
            tree.remove_property(name, "/chosen")

    reserved = fdt.Node("reserved-memory")
    reserved.append(fdt.PropWords("#address-cells", 2))
    reserved.append(fdt.PropWords("#size-cells", 2))
    reserved.append(fdt.Property("ranges"))
    regions = {"shim": (layout.SHIM_BASE, layout.SHIM_SIZE)}
    if shared is not None:
        regions["optee_shm"] = shared  # as optee_os core/kernel/boot.c calls it
    for name, (address, size) in regions.items():
        region = fdt.Node(f"{name}@{address:x}")
        region.append(fdt.PropWords("reg", address >> 32, address & 0xFFFFFFFF, size >> 32, size & 0xFFFFFFFF))
        region.append(fdt.Property("no-map"))
        reserved.append(region)
    tree.add_item(reserved)

    optee = fdt.Node("optee")
    optee.append(fdt.PropStrings("compatible", "linaro,optee-tz"))
    optee.append(fdt.PropStrings("method", conduit))
    optee.append(fdt.PropWords("interrupts", _GIC_SPI, layout.UART_SPI, _LEVEL_HIGH))
    firmware = fdt.Node("firmware")
    firmware.append(optee)
    tree.add_item(firmware)
    return bytes(tree.to_dtb(version=17))
