"""Published cases of Kubernetes' NetworkPolicy: worlds, policies, and which packets must pass."""
