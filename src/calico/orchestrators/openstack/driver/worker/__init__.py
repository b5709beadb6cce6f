"""The one process that talks to etcd: it mirrors what the journal notes, and tells Neutron what hosts report."""
