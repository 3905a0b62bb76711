"""Ways to a TEE: what a `Context` speaks through."""
