"""Neutron's database as facts: a constant number of queries, however many objects are asked for."""
