"""Datastore model to BIRD configuration, BIRD's control socket, and its supervisor."""
