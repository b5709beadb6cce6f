"""Logs, metrics and health: declared catalogues and the local status socket."""
