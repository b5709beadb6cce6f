"""The commands about the datastore as a whole."""
