"""Any bytes under any key: a good store, damage to it, and the agents that must bear it (docs/design/datastore.md)."""
