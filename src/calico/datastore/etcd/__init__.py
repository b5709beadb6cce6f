"""The datastore on etcd v3: messages, channels, calls, watches, and a server as a child process."""
