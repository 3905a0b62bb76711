"""Trusted storage: the format, its durability, and what TAs see of it."""
