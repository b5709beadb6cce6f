"""The commands about sessions and routes."""
