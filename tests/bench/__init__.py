"""Measurements of what users feel, each beside its floor in the same run: `python -m tests.bench`.

Nothing here passes or fails in a test run: machines have slow phases, so what counts is a ratio, and
who reads it is a person. `make bench` prints JSON.
"""
