"""What the datastore says of this host, computed from one reading of it: endpoints, other hosts, the whole ruleset."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from calico.calc.dataplane_state import DataplaneState
from calico.calc.graph import Graph
from calico.calc.messages import EndpointUpdate
from calico.datastore.api import Backend, SyncStatus, Update
from calico.felix.config.merging import merge_config
from calico.felix.config.settings import FelixConfig
from calico.felix.config.sources import of_environment
from calico.felix.host import calc_settings, rules_config
from calico.felix.inputs import Inputs
from calico.ipam.stored.keys import HOST_PREFIX
from calico.model.keys import RESOURCE_PREFIX
from calico.obs.conditions import Conditions
from calico.rules.config import RulesConfig
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

__all__ = ["Intent", "read_intent"]


class Intent(msgspec.Struct, kw_only=True):
    """``tables`` are the rulesets of which one must be there: with or without bandwidth limited by rules, which depends
    on what the kernel can do."""

    revision: int
    config: FelixConfig
    rules: RulesConfig
    dataplane: DataplaneState
    tables: tuple[TableState, ...]

    @property
    def endpoints(self) -> Mapping[str, EndpointUpdate]:
        """The endpoints of this host by interface."""
        return {endpoint.interface: endpoint for endpoint in self.dataplane.endpoints.values()}


async def read_intent(
    backend: Backend,
    node: str,
    file: Mapping[str, str],
    interfaces: Mapping[str, frozenset[bytes]],
    environment: Mapping[str, str] | None = None,
) -> Intent:
    """What ``node`` should have. ``file`` and ``environment``: parameters of Felix that this host gives by itself;
    ``interfaces`` are the host's own, with their addresses."""
    updates: list[Update] = []
    revision = 0
    for prefix in (RESOURCE_PREFIX, HOST_PREFIX):
        listing = await backend.list(prefix)
        revision = revision or listing.revision
        updates += [Update(item.key, item.value, item.mod_revision) for item in listing.items]
    local = [(n, s) for n, s in (("file", file), ("environment", of_environment(environment or os.environ))) if s]
    inputs = Inputs(node, Graph(node), Conditions(), lambda: None)
    inputs.on_updates(updates, revision)
    config = merge_config([*inputs.config_sources(), *local]).settings
    graph = Graph(node, calc_settings(config))
    again = Inputs(node, graph, Conditions(), lambda: None)
    again.on_updates(updates, revision)
    again.on_status(SyncStatus.IN_SYNC)
    rules = rules_config(config)
    dataplane, messages = DataplaneState(), graph.flush()
    dataplane.replay(messages)
    limits = any(e.qos is not None and e.qos.egress_bandwidth for e in dataplane.endpoints.values())
    tables = []
    for polices in (True, False) if limits else (True,):
        tables.append(TableState())
        ruleset = Ruleset(tables[-1], rules)
        ruleset.police_bandwidth(polices)
        for name, addresses in interfaces.items():
            if rules.is_hosts(name):
                ruleset.on_host_interface(name, addresses)
        for message in messages:
            ruleset.on_message(message)
    return Intent(revision=revision, config=config, rules=rules, dataplane=dataplane, tables=tuple(tables))
