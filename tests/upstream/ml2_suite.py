"""Neutron's own ML2 tests with our driver beside its two test drivers. Run by Neutron's Python: ``make neutron-suite``.

They run on an SQLite in memory, so the journal is written but nobody drains it. Overlapping subnets are allowed here,
for Neutron's tests make many.
"""

import pytest
from neutron.tests.unit.plugins.ml2 import _test_mech_agent as agent_suite
from neutron.tests.unit.plugins.ml2 import test_plugin as suite
from neutron_lib.api.definitions import portbindings
from oslo_config import cfg

from calico.orchestrators.openstack.driver import settings
from calico.orchestrators.openstack.driver.hooks.mechanism import CalicoMechanismDriver
from calico.orchestrators.openstack.driver.settings import AGENT_TYPE

DESELECTED = {
    "test__update_segmentation_id_agentless_mech_drivers": (
        "sets agent_type of every driver to something else and expects a driver without an agent; ours has one"
    ),
}


class _Ours:
    _mechanism_drivers = ["logger", "test", "calico"]

    def setUp(self) -> None:
        settings.register()
        cfg.CONF.set_override("refuse_overlapping_subnets", False, group=settings.GROUP)
        super().setUp()


def _without(suite: type) -> type:
    """``suite`` without the tests that do not hold for us, each of which says why it is skipped."""
    return type(
        f"{suite.__name__}Calico",
        (_Ours, suite),
        {
            name: pytest.mark.skip(reason=reason)(lambda self: None)
            for name, reason in DESELECTED.items()
            if hasattr(suite, name)
        },
    )


TestNetworks = _without(suite.TestMl2NetworksV2)
TestSubnets = _without(suite.TestMl2SubnetsV2)
TestPorts = _without(suite.TestMl2PortsV2)
TestPortBinding = _without(suite.TestMl2PortBinding)
TestAllowedAddressPairs = _without(suite.TestMl2AllowedAddressPairs)
TestPortSecurity = _without(suite.TestMl2PortSecurity)


class _Agents:
    """What Neutron's generic tests of a driver with agents ask of each of them."""

    VIF_TYPE = portbindings.VIF_TYPE_TAP
    AGENT_TYPE = AGENT_TYPE
    GOOD_CONFIGS = {}
    BAD_CONFIGS = {}
    AGENTS = [{"alive": True, "configurations": {}, "host": "host", "agent_type": AGENT_TYPE}]
    AGENTS_DEAD = [{"alive": False, "configurations": {}, "host": "dead", "agent_type": AGENT_TYPE}]

    def setUp(self) -> None:
        super().setUp()
        settings.register()
        self.driver = CalicoMechanismDriver()

    def _check_bound(self, context, segment) -> None:
        assert context._bound_vif_type == self.VIF_TYPE
        details = context._bound_vif_details
        assert details["port_filter"]
        assert details["connectivity"] == portbindings.CONNECTIVITY_L3


class TestBinding(_Agents, agent_suite.AgentMechanismGenericTestCase):
    """An agent of ours that is alive, a dead one, none; a kind of network that is not ours."""


class TestBindingLocal(_Agents, agent_suite.AgentMechanismLocalTestCase):
    """Networks of type local."""
