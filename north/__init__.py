"""What every program in the secure world sees, TA or Linux program alike.

`memory`: address spaces of regions with quotas, guard pages and W^X. `log`: the program's text
output with a rate limit. Clock and entropy are the platform's protocols, used as they are.
"""
