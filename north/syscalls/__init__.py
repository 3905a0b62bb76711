"""System calls as data, whatever the personality."""
