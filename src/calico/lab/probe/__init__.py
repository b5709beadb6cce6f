"""Measuring with real packets what reaches what, at once (``matrix``) and over time (``flow``)."""
