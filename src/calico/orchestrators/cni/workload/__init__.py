"""What is attached: its names, what it asks for, its endpoint, what the datastore has of it."""
