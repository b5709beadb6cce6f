"""Our table in nftables: the kernel follows what `rules` wants, read back, planned and committed."""
