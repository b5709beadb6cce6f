"""Typed resources on a datastore: the operations of Calico v3, what they need and what they take along."""
