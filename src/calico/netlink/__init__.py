"""Sans-I/O netlink codecs (rtnetlink, nf_tables, conntrack) and the one socket that carries them."""
