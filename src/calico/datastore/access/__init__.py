"""Who may read and write what in etcd."""
