"""What an instance is told when it asks for its network: DHCPv4, DHCPv6 and router advertisements.

Pure: bytes in, bytes out. Who is on which interface, sockets and time are the business of ``compute``.
"""
