"""Tests of the `litebox-ta` command line."""
