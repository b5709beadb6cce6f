"""What runs in Neutron's API processes: a change is checked, and noted in the journal within its own transaction."""
