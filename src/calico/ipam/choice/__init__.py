"""Which pool, which block, which claim: decided from what was read. Pure."""
