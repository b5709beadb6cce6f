"""How the command line reaches the datastore: environment first, then a CalicoAPIConfig file (data model §1)."""

from __future__ import annotations

from calico.datastore.connection import DEFAULT_CONFIG, Connection, load_connection, open_store

__all__ = ["DEFAULT_CONFIG", "Connection", "load_connection", "open_store"]
