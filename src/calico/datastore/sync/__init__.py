"""Following a datastore for ever, and telling whether a view of it may be trusted."""
