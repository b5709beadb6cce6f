"""All of IPAM at one revision: whether it fits together, how much is used, what has leaked."""
