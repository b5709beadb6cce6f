"""A follower in a process of its own, which can be stopped or slow: prints its view's digest after every change.

``follower.py ENDPOINT PREFIX SECONDS_PER_CALL``: each call of its sink takes so long, as a busy consumer's would.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
import sys
import time
from collections.abc import Sequence

from calico.datastore.api import SyncStatus, Update
from calico.datastore.etcd.backend import EtcdBackend
from calico.datastore.sync.syncer import Syncer
from calico.obs.log import configure_logging


class Sink:
    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s
        self.view: dict[str, str] = {}
        self.status = ""

    def on_status(self, status: SyncStatus, reason: str = "") -> None:
        self.status = status.value
        self.say()

    def on_updates(self, updates: Sequence[Update], revision: int) -> None:
        time.sleep(self.pause_s)
        for update in updates:
            if update.value is None:
                del self.view[update.key]
            else:
                self.view[update.key] = hashlib.blake2b(update.value, digest_size=8).hexdigest()
        self.say()

    def say(self) -> None:
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(json.dumps({"status": self.status, "view": self.view, "rss_mb": megabytes}), flush=True)


async def main(endpoint: str, prefix: str, pause_s: float) -> None:
    await Syncer(EtcdBackend([endpoint]), [prefix], Sink(pause_s)).run()


if __name__ == "__main__":
    configure_logging(level="error")
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
