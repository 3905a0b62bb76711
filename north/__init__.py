"""What every program in the secure world sees, TA or Linux program alike.

`memory`: address spaces of regions with random layout, guard pages, W^X and a quota; regions know
whether they are secure and may be built of foreign pages. `errors`: what an address space refuses,
as values of no particular ABI; each personality turns them into its own results. `elf`: the reader of ELF files.

Clock, entropy and console are the platform's protocols, used as they are: a wrapper would add nothing.
It imports `south.platform` alone, and knows neither TEE nor Linux.
"""
