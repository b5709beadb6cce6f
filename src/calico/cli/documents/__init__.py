"""What people hand in: YAML and JSON files, also of older versions."""
