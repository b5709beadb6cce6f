"""Tracked flows: what policy forbids now is ended, flows of addresses that leave are forgotten; flow logs are read."""
