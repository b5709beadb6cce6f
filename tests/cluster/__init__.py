"""A real Kubernetes for tests: its control plane, and pods that are plain namespaces."""
