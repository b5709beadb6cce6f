"""This host: cables, namespaces, files, records."""
