"""``calico ipam``."""
