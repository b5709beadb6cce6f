"""Typed resources with Calico v3's JSON, selectors, names, validation and codec. Pure."""
