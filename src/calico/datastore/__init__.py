"""The etcd v3 datastore: client, typed store, syncer, and an in-memory store with the same semantics."""
