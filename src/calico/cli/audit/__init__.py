"""``calico audit``: what this host's kernel really does, held against the security properties that are promised."""
