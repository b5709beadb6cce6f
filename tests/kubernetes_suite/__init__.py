"""Kubernetes' own tests of NetworkPolicy, against two whole nodes."""
