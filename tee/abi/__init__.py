"""Constants and layouts of GlobalPlatform's TEE APIs and OP-TEE's ABI; no behaviour, no imports of ours."""
