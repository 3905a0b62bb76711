"""Numbers and layouts of ELF files.

Source: System V gABI chapters 4 and 5, and its "Linux Extensions" (PT_GNU_*, NT_GNU_*); "ELF for the Arm Architecture"
(IHI 0044 / aaelf32) and "ELF for the Arm 64-bit Architecture" (IHI 0056 / aaelf64); names as in <elf.h>.
"""

from __future__ import annotations

from struct import Struct
from typing import Literal

ELFMAG = b"\x7fELF"
ELFCLASS32, ELFCLASS64 = 1, 2
ELFDATA2LSB = 1
EV_CURRENT = 1
ELFOSABI_NONE, ELFOSABI_ARM = 0, 97
ET_EXEC, ET_DYN = 2, 3
EM_X86_64 = 62
"""Those of the guest architectures are facts of `south.platform.Arch`."""
EF_ARM_ABIMASK = 0xFF000000
EF_ARM_ABI_UNKNOWN = 0
EF_ARM_ABI_V5 = 0x05000000

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR, PT_TLS = 1, 2, 3, 4, 6, 7
PT_GNU_STACK, PT_GNU_PROPERTY = 0x6474E551, 0x6474E553
PT_ARM_EXIDX = 0x70000001
PF_X, PF_W, PF_R = 1, 2, 4

SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_HASH, SHT_NOTE, SHT_NOBITS, SHT_REL = 2, 3, 4, 5, 7, 8, 9
SHT_DYNSYM, SHT_RELR = 11, 19
SHT_GNU_HASH = 0x6FFFFFF6
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 1, 2, 4, 0x800
ELFCOMPRESS_ZLIB = 1

DT_NULL, DT_NEEDED, DT_PLTRELSZ, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ = 0, 1, 2, 4, 5, 6, 7, 8
DT_STRSZ, DT_SONAME, DT_REL, DT_RELSZ, DT_JMPREL = 10, 14, 17, 18, 23
DT_INIT_ARRAY, DT_FINI_ARRAY, DT_INIT_ARRAYSZ, DT_FINI_ARRAYSZ = 25, 26, 27, 28
DT_GNU_HASH = 0x6FFFFEF5

SHN_UNDEF, SHN_LORESERVE, SHN_XINDEX = 0, 0xFF00, 0xFFFF
STB_GLOBAL, STB_WEAK = 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_TLS, STT_GNU_IFUNC = 0, 1, 2, 6, 10

NT_GNU_BUILD_ID, NT_GNU_PROPERTY_TYPE_0 = 3, 5
GNU_PROPERTY_AARCH64_FEATURE_1_AND = 0xC0000000
GNU_PROPERTY_AARCH64_FEATURE_1_BTI = 1


class Layout:
    """Structures of one ELF class; every Struct unpacks its fields in the order of the gABI."""

    __slots__ = ("chdr", "dyn", "ehdr", "fmt", "mask", "phdr", "reloc", "shdr", "sht_reloc", "sym", "word")

    def __init__(self, word: int) -> None:
        self.word = word
        self.mask = (1 << 8 * word) - 1
        if word == 8:
            self.fmt: Literal["Q", "I"] = "Q"
            self.ehdr = Struct("<16sHHIQQQIHHHHHH")
            self.phdr = Struct("<IIQQQQQQ")
            self.shdr = Struct("<IIQQQQIIQQ")
            self.sym = Struct("<IBBHQQ")
            self.dyn = Struct("<QQ")
            self.reloc = Struct("<QQQ")
            self.chdr = Struct("<IIQQ")
            self.sht_reloc = SHT_RELA
        else:
            self.fmt = "I"
            self.ehdr = Struct("<16sHHIIIIIHHHHHH")
            self.phdr = Struct("<IIIIIIII")
            self.shdr = Struct("<IIIIIIIIII")
            self.sym = Struct("<IIIBBH")
            self.dyn = Struct("<II")
            self.reloc = Struct("<II")
            self.chdr = Struct("<III")
            self.sht_reloc = SHT_REL


LAYOUT64 = Layout(8)
LAYOUT32 = Layout(4)
