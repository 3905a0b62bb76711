"""ELF objects as TAs and their libraries are: read, checked and prepared for linking.

`ElfObject` is one parsed file; `describe_elf` says what is in it for a person. The rules are those of
OP-TEE's ldelf, which this package stands in for.
"""
