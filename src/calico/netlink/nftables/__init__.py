"""nf_tables: expressions and objects as values, and their netlink codec."""
