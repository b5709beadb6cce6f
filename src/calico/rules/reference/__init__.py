"""The first witness: the executable specification of what the calculation's messages mean for a packet. Pure."""
