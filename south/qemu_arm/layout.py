"""What the shim, the guest's RAM and this process agree on: addresses, offsets, doorbell bytes.

Declared here once; `build.py` makes the header that `shim.S` includes from it. Upper-case integers of this module are
that header. Sizes in bytes; addresses are guest-physical.
"""

from __future__ import annotations

# --- QEMU's virt board (QEMU hw/arm/virt.c, base_memmap and a15irqmap)

RAM_BASE = 0x4000_0000
"""VIRT_MEM."""
GICD_BASE = 0x0800_0000
"""VIRT_GIC_DIST: the GICv3 distributor."""
UART_BASE = 0x0900_0000
"""VIRT_UART: the PL011 that is the doorbell."""
UART_SPI = 1
"""Its shared peripheral interrupt, as a device tree counts them."""
UART_INTID = 32 + UART_SPI
"""As the GIC counts them: SPIs start at 32 (GIC architecture, IHI 0069 §2.2.1)."""
MAX_CPUS = 16
"""With GICv3 the board numbers that many CPUs in affinity level 0 alone (virt_cpu_mp_affinity)."""

# --- what we put into RAM

SHIM_BASE = 0x4010_0000
"""Where QEMU puts our image: RAM_BASE + TEXT_OFFSET."""
TEXT_OFFSET = 0x10_0000
"""In the image's header; above the few words by which QEMU starts a kernel."""
SHIM_SIZE = 0x10_0000
"""Everything of the shim's; a device tree reserves it, `GuestMemory` leaves it out."""
KERNEL_BASE = 0x4020_0000
"""The kernel: an arm64 Image wants 2 MiB alignment (Linux Documentation/arch/arm64/booting.rst)."""

CONFIG_BASE = 0x4018_0000
"""One page: see CONFIG_*."""
SLOTS_BASE = 0x4018_1000
"""A slot for each CPU: see SLOT_*."""
STACKS_BASE = 0x4018_2000

CONFIG_READY = 0
"""u32, host: nonzero once it has taken notice of this start of the guest. The shim clears it first."""
CONFIG_NOTIFY = 4
"""u32, host: nonzero while the kernel takes the doorbell's interrupt as its asynchronous notification."""
CONFIG_SLEEPER = 8
"""u32, shim: the lock of the one CPU that the doorbell's interrupt wakes."""
CONFIG_MASK = 12
"""u32, shim: what stands in the PL011's interrupt mask, which is slow to read."""
CONFIG_SIZE = 0x1000

SLOT_SIZE = 256
SLOT_IN = 0
"""u64[8], shim: x0 to x7 of the call."""
SLOT_OUT = 64
"""u64[4], host: x0 to x3 of the answer."""
SLOT_SEQUENCE = 96
"""u32, shim: number of the request."""
SLOT_DONE = 100
"""u32, host: number of the request that SLOT_OUT answers; written after it."""
SLOT_SLEEP = 104
"""u32, shim: nonzero while the CPU waits for an interrupt: the answer must ring."""
SLOT_LONG = 108
"""u32, shim: the last exchange took long, so spinning for the next answer does not pay."""
SLOT_CPU = 112
"""u32, shim: the CPU's number."""
SLOT_ON = 128
"""u64[2], shim: entry and context of PSCI CPU_ON."""

STACK_SIZE = 512
"""Of one CPU in EL2; one frame of saved registers is all that lies there."""

# --- bytes on the doorbell

RING_BOOT = 0x01
"""To the host: the boot CPU starts, at power-on or after a reset."""
RING_FATAL = 0x02
"""To the host: the shim met an exception it does not know; SLOT_IN of that CPU has ESR, ELR, FAR, SPSR."""
RING_CALL = 0x40
"""To the host, plus the CPU: its slot has a request."""
RING_INTERRUPTED = 0x60
"""To the host, plus the CPU: while it waits for the answer, an interrupt for the kernel pends."""
RING_WAKE = 0x57
"""To the shim: an answer is there."""
RING_NOTIFY = 0x4E
"""To the shim: an asynchronous notification for the kernel."""

# --- calls that the shim itself must know

FIRST_OWNER = 50
"""SMCCC owners 50 to 63 are the trusted OS's (SMC Calling Convention, DEN0028 §6.1); all else goes to QEMU's PSCI."""
NOTIFICATION_VALUE = 0xB200_0011
"""OPTEE_SMC_GET_ASYNC_NOTIF_VALUE (Linux drivers/tee/optee/optee_smc.h): the kernel asks, in its handler of the
doorbell's interrupt, what that was for."""


def slot(cpu: int) -> int:
    """Address of a CPU's slot."""
    return SLOTS_BASE + cpu * SLOT_SIZE


def header() -> str:
    """The constants for the preprocessor."""
    names = sorted(name for name, value in globals().items() if name.isupper() and isinstance(value, int))
    return "".join(f"#define {name} {globals()[name]:#x}\n" for name in names)
