"""``calico kubernetes``."""
