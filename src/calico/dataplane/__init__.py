"""The only code that changes the host: nftables, routes, links, neighbours, sysctls."""
