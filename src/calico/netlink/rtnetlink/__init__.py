"""The rtnetlink codec: links, addresses, routes, neighbours. Values in, bytes out, and back; no I/O.

Every request builder takes the sequence number first and returns one whole message. Decoders take a message's
payload and raise ``WireError`` on bytes that are not what they should be. Indexes are kernel interface indexes,
addresses are 4 or 16 packed bytes, nets are ``calico.lib.packed`` nets. Source: ``linux/rtnetlink.h`` and friends.
"""
