"""Kubernetes objects that resources hold or come from, and what they mean in Calico's words."""
