"""Questions to the BGP agents of other hosts through the datastore: short-lived keys, read by the one who is asked."""
