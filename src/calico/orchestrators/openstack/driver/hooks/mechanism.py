"""The ML2 mechanism driver: binds ports of instances to hosts where Felix runs, and notes every change in the journal.

It never touches etcd: an API call costs one more row in its own transaction, whether etcd is there or not.
"""

from __future__ import annotations

from typing import Any

from neutron.plugins.ml2.drivers import mech_agent
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import resource_extend
from oslo_config import cfg

from calico.orchestrators.openstack.driver import settings
from calico.orchestrators.openstack.driver.hooks import bindings, callbacks, routers, subnets
from calico.orchestrators.openstack.driver.hooks.qos import CalicoQosDriver
from calico.orchestrators.openstack.driver.journal.recording import (
    FORWARDED_WITH,
    ISOLATED_NETWORK,
    ISOLATED_PROJECT,
    NETWORK,
    PAIRED_PORTS,
    PORT,
    SUBNET,
    SUBNET_PORTS,
    Place,
    record,
)
from calico.orchestrators.openstack.driver.logs import log_as_neutron
from calico.orchestrators.openstack.driver.poke import poke
from calico.orchestrators.openstack.naming import tap_mac

__all__ = ["CalicoMechanismDriver"]

_STATUS_ONLY = frozenset({"status", "updated_at", "revision_number"})
_IN_NETWORK = ("name", "mtu", "qos_policy_id", "dns_domain", "router:external", "port_security_enabled")


@resource_extend.has_resource_extenders
class CalicoMechanismDriver(mech_agent.SimpleAgentMechanismDriverBase):
    """``mechanism_drivers = calico``; other kinds of interfaces (SR-IOV, vhost-user) are left to other drivers."""

    def __init__(self) -> None:
        super().__init__(settings.AGENT_TYPE, portbindings.VIF_TYPE_TAP, {portbindings.CAP_PORT_FILTER: True})

    def initialize(self) -> None:
        """Check the configuration, so that a wrong one is an error at the start and not in the night."""
        log_as_neutron()
        settings.register()
        settings.connection()
        settings.region()
        settings.metrics_wanted()
        callbacks.subscribe()
        bindings.listen()
        routers.listen()
        CalicoQosDriver.create()

    @property
    def _isolation(self) -> str:
        return str(cfg.CONF.calico.isolation)

    @property
    def connectivity(self) -> str:
        return portbindings.CONNECTIVITY_L3

    def get_workers(self) -> list[Any]:
        """The one process that talks to etcd."""
        from calico.orchestrators.openstack.driver.worker.process import CalicoWorker

        return [CalicoWorker()]

    # ---- binding

    def get_allowed_network_types(self, agent: Any = None) -> tuple[str, ...]:
        return ("local", "flat")

    def get_mappings(self, agent: Any) -> dict[str, str]:
        return {}

    def check_segment_for_agent(self, segment: dict[str, Any], agent: dict[str, Any]) -> bool:
        """Every host reaches every network: packets are routed."""
        return agent["agent_type"] == self.agent_type and segment["network_type"] in self.get_allowed_network_types()

    def get_vif_details(self, context: Any, agent: Any, segment: Any) -> dict[str, Any]:
        """The tap has the same MAC on every host, so that a migrating instance keeps its gateway."""
        mac = context.current.get("mac_address")
        return {**self.vif_details, "mac_address": tap_mac(mac)} if mac else dict(self.vif_details)

    @staticmethod
    @resource_extend.extends(["networks"])
    def _no_common_segment(network: dict[str, Any], row: Any) -> None:
        """Say honestly that broadcasts do not reach the other ports of a network."""
        network["l2_adjacency"] = False

    # ---- ports

    def create_port_precommit(self, context: Any) -> None:
        super().create_port_precommit(context)
        self._record_port(context, _places(context.current))

    def update_port_precommit(self, context: Any) -> None:
        super().update_port_precommit(context)
        if _differ(context.current, context.original):
            here, there = _places(context.current), _places(context.original)
            self._record_port(context, here | there)
            if here != there:
                record(context.plugin_context.session, FORWARDED_WITH, [context.current["id"]])

    def delete_port_precommit(self, context: Any) -> None:
        self._record_port(context, _places(context.current))
        routers.record_leaving(context.plugin_context.session, context.current)

    def create_port_postcommit(self, context: Any) -> None:
        poke()

    update_port_postcommit = delete_port_postcommit = create_port_postcommit

    def _record_port(self, context: Any, places: set[Place]) -> None:
        session, port = context.plugin_context.session, context.current
        record(session, PORT, [port["id"]], places)
        if self._isolation == "project":
            record(session, ISOLATED_PROJECT, [port["project_id"]])

    # ---- networks and subnets

    def create_network_precommit(self, context: Any) -> None:
        if self._isolation == "network+router":
            record(context.plugin_context.session, ISOLATED_NETWORK, [context.current["id"]])

    delete_network_precommit = create_network_precommit

    def update_network_precommit(self, context: Any) -> None:
        if any(context.current.get(name) != context.original.get(name) for name in _IN_NETWORK):
            record(context.plugin_context.session, NETWORK, [context.current["id"]])

    def create_subnet_precommit(self, context: Any) -> None:
        if cfg.CONF.calico.refuse_overlapping_subnets:
            subnets.refuse_overlap(context.plugin_context.session, context.current)
        self._record_subnet(context)

    def update_subnet_precommit(self, context: Any) -> None:
        record(context.plugin_context.session, SUBNET, [context.current["id"]])
        if context.current.get("gateway_ip") != context.original.get("gateway_ip"):
            record(context.plugin_context.session, SUBNET_PORTS, [context.current["id"]])

    def delete_subnet_precommit(self, context: Any) -> None:
        self._record_subnet(context)

    def _record_subnet(self, context: Any) -> None:
        """One that comes or goes, with the ports whose address pairs may be inside of it."""
        record(context.plugin_context.session, SUBNET, [context.current["id"]])
        record(context.plugin_context.session, PAIRED_PORTS, [context.current["network_id"]])

    def update_network_postcommit(self, context: Any) -> None:
        poke()

    create_network_postcommit = delete_network_postcommit = update_network_postcommit
    create_subnet_postcommit = update_subnet_postcommit = delete_subnet_postcommit = update_network_postcommit


def _places(port: dict[str, Any]) -> set[Place]:
    """Where the port is, and where it is going to."""
    profile = port.get(portbindings.PROFILE) or {}
    hosts = (port.get(portbindings.HOST_ID), profile.get("migrating_to"))
    return {(host, port["device_id"]) for host in hosts if host and port["device_id"]}


def _differ(current: dict[str, Any], original: dict[str, Any]) -> bool:
    """Whether more changed than what we report ourselves."""
    names = (current.keys() | original.keys()) - _STATUS_ONLY
    return any(current.get(name) != original.get(name) for name in names)
