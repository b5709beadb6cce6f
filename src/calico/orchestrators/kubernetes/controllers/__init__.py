"""What keeps the datastore equal to what the API server says, one file for each kind."""
