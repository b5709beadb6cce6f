"""How flow logs are put together when Felix starts, if they are wanted and the kernel has what they need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from calico.dataplane.flows.log_reader import FLOW_LOG_GROUP, FlowReader
from calico.errors import CalicoError
from calico.felix.config.settings import FelixConfig
from calico.felix.configuration import FelixSettings
from calico.felix.flows.feed import SOCKET, Feed
from calico.felix.flows.journal import Journal
from calico.felix.flows.names import Names
from calico.felix.flows.service import FlowLogs
from calico.felix.host import Host
from calico.felix.inputs import Inputs
from calico.obs.conditions import Conditions

__all__ = ["make_flow_logs", "open_flow_reader"]

log = structlog.get_logger(__name__)

_NOWHERE = ("", "none")


def open_flow_reader(config: FelixConfig, conditions: Conditions) -> FlowReader | None:
    """The reader, if flow logs are wanted. Without one the ruleset must log nothing: it is read before that is made."""
    if not config.flow_logs:
        return None
    try:
        return FlowReader(FLOW_LOG_GROUP)
    except (CalicoError, OSError) as error:
        log.warning("flow logs cannot be read", error=str(error))
        conditions.set("flow-logs-unavailable", f"nflog group {FLOW_LOG_GROUP}", str(error))
        return None


def make_flow_logs(
    settings: FelixSettings,
    reader: FlowReader,
    inputs: Inputs,
    host: Host,
    conditions: Conditions,
    config: Callable[[], FelixConfig],
) -> FlowLogs:
    """Flow logs of this host; from now on ``inputs`` tells who has which address."""
    names = Names()
    inputs.watchers.append(names.on_resource)
    now = config()
    journal = None
    if now.flow_logs_directory not in _NOWHERE:
        directory = Path(now.flow_logs_directory)
        journal = Journal(directory, size=now.flow_logs_file_mb << 20, files=now.flow_logs_files)
    return FlowLogs(
        settings.node,
        reader,
        host.decided_by,
        names,
        Feed(Path(settings.run_dir) / SOCKET),
        journal,
        conditions,
        lambda: max(1.0, config().flow_logs_flush_s),
    )
