"""`calico openstack`: commands for clouds of OpenStack."""
