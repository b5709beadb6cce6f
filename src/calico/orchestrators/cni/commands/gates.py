"""``readiness_gates`` of a network: addresses over HTTP that must all say yes before a container is attached."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from calico.orchestrators.cni.protocol.fault import TRY_AGAIN, PluginError

__all__ = ["require_gates"]

_TIMEOUT_S: Final = 5.0


async def require_gates(urls: Sequence[str]) -> None:
    """Return when each answers with success; PluginError 11 naming one that does not."""
    await asyncio.gather(*(asyncio.to_thread(_require, url) for url in urls))


def _require(url: str) -> None:
    from urllib.request import ProxyHandler, build_opener  # a network without gates does not pay for it

    direct = build_opener(ProxyHandler({}))  # no proxy stands between a host and itself
    try:
        with direct.open(url, timeout=_TIMEOUT_S):  # only http and https pass the configuration
            return
    except (OSError, ValueError) as error:
        raise PluginError(TRY_AGAIN, f"readiness_gates: {url} is not ready: {error}") from None
