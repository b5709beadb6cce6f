"""``calico lab``: many hosts on one machine."""
