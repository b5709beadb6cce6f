"""The policy calculation: datastore updates in, a minimal stream of messages for this host out. Pure."""
