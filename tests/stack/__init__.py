"""A live OpenStack control plane for tests: PostgreSQL, etcd, Neutron's API and workers, and a stub of Nova.

Neutron runs from an environment of its own (``make openstack``); nothing here imports it. All servers listen on
loopback, or inside one network namespace, and end with the stack.
"""
