"""The Neutron side: an ML2 mechanism driver with its service plugins, and the worker that mirrors Neutron into etcd.

The only package that imports Neutron, oslo and SQLAlchemy (``pip install calico-network[openstack]``).
"""
