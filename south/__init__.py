"""What hosts provide: platform protocols, CPU engines with the C dispatcher, one folder a platform.

`platform` holds the protocols and is the ground floor: everything may import it. A platform never
imports `tee`, `north` or `ta_loader`; it is handed a callable by the composition root.
"""
