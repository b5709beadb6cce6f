"""Migrations of the driver's tables, for ``neutron-db-manage --subproject calico-network``."""
