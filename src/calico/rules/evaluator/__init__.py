"""The second witness: the table's rules executed over a packet's bytes as the kernel would. Pure."""
