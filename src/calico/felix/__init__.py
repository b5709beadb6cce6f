"""The agent on every host: configuration, wiring, apply loop, status."""
