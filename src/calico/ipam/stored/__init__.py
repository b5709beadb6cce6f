"""What is stored: keys, blocks, affinities, handles and settings, in Calico's JSON. Pure."""
