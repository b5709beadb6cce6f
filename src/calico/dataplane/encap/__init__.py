"""Tunnels to other hosts: devices, who is behind which address, routes, and how long packets may be."""
