"""Writes 50 pools as fast as it can: ``pool_burst.py URL``, in a process whose sockets all are in its namespace."""

from __future__ import annotations

import asyncio
import sys

from calico.datastore.api import Op
from calico.datastore.etcd.backend import EtcdBackend

KEYS = "/calico/resources/v3/projectcalico.org/ippools/"


async def burst(url: str) -> None:
    backend = EtcdBackend((url,))
    for number in range(50):
        spec = b'{"kind":"IPPool","metadata":{},"spec":{"cidr":"10.%d.0.0/16"}}' % (100 + number)
        await backend.txn([Op(f"{KEYS}p{number}", spec)])
    await backend.close()


if __name__ == "__main__":
    asyncio.run(burst(sys.argv[1]))
