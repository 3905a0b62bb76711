"""Tests against TAs, clients and tools that nobody here wrote."""
