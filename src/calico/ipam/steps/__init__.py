"""The steps of giving and taking back, against a datastore that others change at the same time."""
