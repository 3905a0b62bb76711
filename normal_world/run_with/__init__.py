"""Programs that find our libteec and a daemon, of this or another architecture, and the private folder they share."""
