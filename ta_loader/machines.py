"""What the loader knows of each architecture that TAs are built for; an architecture without a row has no TAs.

Sources: "ELF for the Arm 64-bit Architecture" (aaelf64), "ELF for the Arm Architecture" (aaelf32); optee_os
ldelf/ta_elf.c and ta_elf_rel.c. Relocations are in `relocation/`, and how
frames are unwound in `symbolise.unwind.MACHINES`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from north.elf import abi
from south.platform import Arch
from tee.abi.ta_head import STACK_ALIGN_AARCH64, STACK_ALIGN_ARM


class Machine(NamedTuple):
    """One architecture of TAs."""

    elf_class: int
    """EI_CLASS of its files."""
    flags_mask: int
    """Bits of e_flags that say which ABI a file has."""
    abis: tuple[tuple[int, int], ...]
    """EI_OSABI with e_flags & flags_mask, as a file may have them."""
    stack_align: int
    """ta_head's stack_size is a multiple of these bytes."""
    exidx: bool
    """Files may have unwind tables of the EHABI (PT_ARM_EXIDX)."""
    bti: bool
    """Files may ask for branch target identification by a GNU property."""
    tls_by_position: bool
    """libutee finds a module's TLS block by the module's place among all; otherwise by its offset."""
    shadow_offsets: int
    """How many of `tee.abi.asan.SHADOW_OFFSETS` its TAs may have."""
    trimmed_returns: bool
    """OP-TEE has already taken 4 from every return address of a call stack in its log (`print_stack_arm64`)."""


MACHINES: Final = {
    Arch.AARCH64: Machine(
        elf_class=abi.ELFCLASS64,
        flags_mask=0xFFFFFFFF,
        abis=((abi.ELFOSABI_NONE, 0),),
        stack_align=STACK_ALIGN_AARCH64,
        exidx=False,
        bti=True,
        tls_by_position=False,
        shadow_offsets=1,
        trimmed_returns=True,
    ),
    Arch.ARM: Machine(
        elf_class=abi.ELFCLASS32,
        flags_mask=abi.EF_ARM_ABIMASK,
        abis=((abi.ELFOSABI_NONE, abi.EF_ARM_ABI_V5), (abi.ELFOSABI_ARM, abi.EF_ARM_ABI_UNKNOWN)),
        stack_align=STACK_ALIGN_ARM,
        exidx=True,
        bti=False,
        tls_by_position=True,
        shadow_offsets=2,
        trimmed_returns=False,
    ),
}
TA_ARCHES: Final = tuple(MACHINES)
"""The architectures that TAs are built for."""

_BY_ELF = {(machine.elf_class, arch.elf_machine): arch for arch, machine in MACHINES.items()}


def arch_of(elf_class: int, elf_machine: int) -> Arch | None:
    """The architecture of a TA's file with that EI_CLASS and e_machine; None: there are no such TAs."""
    return _BY_ELF.get((elf_class, elf_machine))
