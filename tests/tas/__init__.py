"""TAs built for tests only."""
