"""A running BIRD: its process, its control socket and its log, kept running with the wanted configuration."""
