"""Which of OpenStack's tests are run, and which of them are not, by name and with the reason."""

from __future__ import annotations

__all__ = ["DESELECTED", "SUITES"]

SUITES = {
    "tempest": (
        r"tempest\.api\.network\."
        r"(test_ports|test_security_groups|test_subnetpools|test_allowed_address_pair|test_floating_ips|test_extensions)"
    ),
    "neutron-tempest-plugin": (
        r"neutron_tempest_plugin\.api\."
        r"(test_security_groups|test_address_groups|test_allowed_address_pair|test_ports|test_floating_ips|test_qos"
        r"|test_networks|test_subnets|test_extra_dhcp_options)"
    ),
}
"""Tests of the API: they show that Neutron with the driver is Neutron, and send no packets (tests/system does)."""

DESELECTED: dict[str, str] = {}
"""Regular expression of the name -> why it is not run."""
