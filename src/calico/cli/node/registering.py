"""The Node of this host: made, or brought up to date; what others set on it stays."""

from __future__ import annotations

from typing import Any

from calico.cli.options import opened
from calico.errors import NotFound

__all__ = ["register"]


async def register(node: str, patch: dict[str, Any], config: str | None) -> bool:
    """See that the Node is there and has what ``patch`` says; whether it was made now."""
    from calico.client.aio import AsyncClient
    from calico.model.manifest import to_resource
    from calico.model.meta import API_VERSION

    async with opened(config) as store:
        client = AsyncClient(store.backend, store)
        try:
            await (client.nodes.patch(node, patch) if patch else client.nodes.get(node))
        except NotFound:
            document = {"kind": "Node", "apiVersion": API_VERSION, "metadata": {"name": node}, **patch}
            await client.apply(to_resource(f"Node {node}", document))
            return True
    return False
