"""Bandwidth of workloads: token buckets at their interfaces, both ways."""
