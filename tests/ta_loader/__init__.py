"""Tests of ta_loader."""
