"""The objects by which Calico runs in a cluster of Kubernetes, made from a few options. Pure."""
