"""The commands that read and write resources."""
