"""Fuzz targets, one for each untrusted input: `python -m tests.fuzz NAME --seconds N`; `make fuzz` runs them all.

A target is a function of bytes that raises for nothing its input may cause. targets.py has them with
their seeds, driver.py mutates; atheris is used instead if it is installed.
"""
