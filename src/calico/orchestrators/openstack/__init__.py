"""OpenStack: Neutron's database mirrored into Calico's data model, and what hosts serve their instances."""
