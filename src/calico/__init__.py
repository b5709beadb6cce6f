"""Calico in Python: plain IP routing and kernel packet filters that connect and secure workloads."""

__version__ = "0.1.0"
