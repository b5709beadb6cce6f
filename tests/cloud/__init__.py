"""A cloud as Neutron's database has it, made small for tests, and an independent reading of what it allows."""
