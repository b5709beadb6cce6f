"""Domain-free building blocks: packed networks, delta tracking, the reconciler, task supervision."""
