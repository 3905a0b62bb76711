"""The one reader of ELF files, for TAs, Linux programs, debug files and kernel modules alike.

`file` reads headers, segments and sections, `tables` dynamic entries, symbols, strings and notes; `abi` has the numbers
and layouts. They see to it that nothing outside the file is read and that every failure is an `ElfError`. What a file
of some kind must be is a policy on top: ldelf's is `ta_loader.elf.checks`, a kernel's is `kernel`, that of a tool,
which takes what there is, `ta_loader.symbolise.elffile`, and what a guest needs is in `boards.guest.elf`.

Line tables, call frame information and EHABI are read by `ta_loader.symbolise`, for whose caller the file is hostile.
"""
