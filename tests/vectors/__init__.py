"""Published test vectors: of the symmetric algorithms through TAs, of asymmetric keys by system call.

Every symmetric vector is fed in random pieces, the operation's state is copied at a random point, and both the
original and the copy must end right. `files` reads NIST's and Wycheproof's formats, `published` and `published_keys`
hold what no package ships, `catalogue` says which vectors there are; `driver` is what a TA offers, `cryptdrv` and
`gp_crypt` are the TAs.

A run takes a sample of every file; `pytest -m slow` (and `make test-real`) takes everything.
"""
