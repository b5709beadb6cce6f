"""A whole datastore as a document and back, and moved to another etcd."""
