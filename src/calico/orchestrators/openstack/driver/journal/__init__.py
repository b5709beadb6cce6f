"""The journal: which objects of Neutron changed and are not mirrored yet, in a table of Neutron's own database."""
