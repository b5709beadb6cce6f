"""The daemon as it is, but when a step is reached (``calico.orchestrators.cni.commands.steps``) it kills itself, or the
process of another that it is told."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal

from calico.datastore.connection import Connection
from calico.obs.log import configure_logging
from calico.orchestrators.cni.commands.agent import Settings
from calico.orchestrators.cni.serving.daemon import DaemonSettings, run


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--node", "--run-dir", "--state-dir", "--etcd-endpoints", "--socket"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    configure_logging(level="info")
    victim = int(os.environ.get("CNI_TEST_END_PID", os.getpid()))
    end_at = os.environ["CNI_TEST_END_AT"]

    def on_step(step: str) -> None:
        nonlocal end_at
        if step == end_at:
            end_at = ""
            os.kill(victim, signal.SIGKILL)

    agent = Settings(node=options.node, felix_run_dir=options.run_dir, records=options.state_dir)
    settings = DaemonSettings(agent=agent, etcd=Connection(endpoints=(options.etcd_endpoints,)), socket=options.socket)
    asyncio.run(run(settings, on_step=on_step))


if __name__ == "__main__":
    main()
