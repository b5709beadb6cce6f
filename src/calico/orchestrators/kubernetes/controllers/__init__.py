"""What follows the Kubernetes API and keeps Calico's datastore as it says: one leader, one file per kind."""
