"""Tests: folders mirror the packages; `real` runs what nobody here wrote, `bench` measures."""
