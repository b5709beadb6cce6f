"""The BGP agent with somebody who tells services: one with an endpoint here, whose traffic must not change hosts.

``service_agent.py URL NODE RUN_DIR``; it runs until it is ended.
"""

from __future__ import annotations

import asyncio
import sys

from calico.bgp.daemon import BGPSettings, run_with_backend
from calico.bgp.planning.serviceroutes import ServiceAddress, ServiceRoutes, ServiceSink
from calico.datastore.connection import Connection
from calico.datastore.etcd.backend import EtcdBackend


class Source:
    async def run(self, sink: ServiceSink) -> None:
        address = ServiceAddress(kind="external", address="192.0.2.7", local_only=True, here=True)
        sink.on_services(ServiceRoutes(addresses=(address,)))
        await asyncio.Event().wait()


async def main(url: str, node: str, run_dir: str) -> None:
    settings = BGPSettings(node=node, etcd=Connection((url,)), run_dir=run_dir)
    await run_with_backend(settings, EtcdBackend(settings.etcd.endpoints), Source())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
