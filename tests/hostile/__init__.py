"""Hostile TAs, images and callers: each is stopped alone, with a defined result, while others go on."""
