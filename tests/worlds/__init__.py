"""Worlds: resources that collide, packets aimed at their rules, and three witnesses who must agree on every verdict.

See docs/design/worlds.md.
"""
