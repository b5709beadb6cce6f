"""``calico kubernetes``: a room for what Kubernetes needs."""
