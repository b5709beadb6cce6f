"""Who gives a container its addresses."""
