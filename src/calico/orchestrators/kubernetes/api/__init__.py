"""The Kubernetes API as raw JSON: connection, requests, lists that are followed, leases, Events."""
