"""Addresses of workloads and tunnels: blocks, affinities and handles in the datastore, alike to Calico's (spec §9)."""
