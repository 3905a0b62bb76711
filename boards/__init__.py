"""Boards and virtual machines that boot a secure world of their own.

Its rooms, as they are built: a catalogue of boards, consoles (serial lines, QEMU's sockets), boot
stages that wait for what a stage prints and say which one failed, power control, and a pytest plugin
that hands a booted target to a test.

It is the top of the house: it may import every other package and none imports it. What goes wrong
on a board is a `boards.errors.TargetError`, told apart from a mistake of the caller.

It starts empty. Serial lines need the extra: `pip install litebox-ta[boards]`.
"""
