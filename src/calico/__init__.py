"""Calico: connects and secures workloads with plain IP routing and kernel packet filters.

For scripts: ``with calico.connect() as client: client.network_policies.list()``. See ``calico.client``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calico.client import AsyncClient, Client, connect, connect_async

__all__ = ["AsyncClient", "Client", "__version__", "connect", "connect_async"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The client is imported when it is asked for: importing the package costs nothing."""
    if name in __all__:
        return getattr(importlib.import_module("calico.client"), name)
    raise AttributeError(f"module 'calico' has no attribute {name!r}")
