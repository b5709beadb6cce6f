"""Many hosts in network namespaces on one machine: real etcd, BIRD and Felix; probes with real packets."""
