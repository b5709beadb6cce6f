"""The metadata service of instances (169.254.169.254 and fe80::a9fe:a9fe): says to Nova who asks, and hands on the
answer."""
