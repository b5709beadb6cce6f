"""A lab with a cloud: a controller that runs the real Neutron, and a compute command that does what Nova would."""
