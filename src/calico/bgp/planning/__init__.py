"""From the datastore to one host's plan: which sessions, what they accept and tell, what is wrong. Pure."""
