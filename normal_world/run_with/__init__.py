"""What `litebox-ta with` does: a private daemon, and a program that finds it, of this or another architecture."""
