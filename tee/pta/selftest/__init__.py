"""Self tests of the secure world's core, as the test PTA runs them on request.

They look at the running core itself, so a broken one answers TEE_ERROR_GENERIC and says on the console what is broken.
"""
