"""Trusted storage: OP-TEE's file systems, and the persistent objects that TAs keep in them.

From the bottom: `keys` derives what files are sealed with, `htree` keeps one file's blocks authentic and its updates
atomic, `ree_file` makes bytes of blocks, `dirfile` says which object is in which file, `ree_fs` puts these together;
`rpmb` is the file system on an RPMB, over `rpmb_fs`, `rpmb_fat`, `rpmb_device` and `rpmb_frames`;
`pobj` knows who has which object open, `objects` is what a TA's handle stands for, and `store` is the whole.
"""
