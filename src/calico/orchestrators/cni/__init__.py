"""The CNI plugins ``calico`` and ``calico-ipam``: what attaches containers and other workloads to the network."""
