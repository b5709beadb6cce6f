"""Routes to workloads, their neighbour entries, and the gateways that they ask for."""
