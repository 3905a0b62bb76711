"""From a vendor's `.ta` file to a program in an address space, and the `litebox-ta` command.

`container`: the signed and encrypted image formats, verified and made. `trust`, `store`: whose
signatures are believed, and where images are found. `elf`, `relocation`, `link`, `image`: what
OP-TEE's ldelf does, done on the host. `source.Loader` is the `tee.ports.ImageSource` that the secure
world is handed. `symbolise`: backtraces. `samples`: a TA of our own.

It may import `tee`, `north` and `south`; none of them imports it. `cli`, the command, is a layer of its own above
all others. Nothing is imported or re-exported
here: a start of `litebox-ta` is shorter than many an import.
"""
