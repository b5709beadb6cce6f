"""The core cluster of etcd: who its members are, how each is started, looked at and exchanged."""
