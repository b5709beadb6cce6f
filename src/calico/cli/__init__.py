"""The calico command."""
