"""Felix's settings: which source wins, and what happens to values that are wrong."""

import pytest

from calico.felix.config import PARAMETERS, FelixConfig, merge_config, needs_restart
from calico.felix.host import rules_config


def test_without_sources_every_setting_has_its_built_in_default() -> None:
    config, origin, problems = merge_config([])
    assert (config, origin, problems) == (FelixConfig(), {}, {})


def test_a_later_source_wins_and_is_remembered() -> None:
    config, origin, _ = merge_config(
        [
            ("FelixConfiguration default", {"defaultEndpointToHostAction": "Return", "interfacePrefix": "tap"}),
            ("FelixConfiguration node.h1", {"defaultEndpointToHostAction": "Accept"}),
            ("environment", {"REPORTINGINTERVALSECS": "5"}),
        ]
    )
    assert config.endpoint_to_host == "accept"
    assert config.interface_prefixes == ("tap",)
    assert config.reporting_interval_s == 5.0
    assert origin == {
        "endpoint_to_host": "FelixConfiguration node.h1",
        "interface_prefixes": "FelixConfiguration default",
        "reporting_interval_s": "environment",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("defaultEndpointToHostAction", "Maybe"),
        ("interfacePrefix", "way-too-long-a-prefix"),
        ("interfacePrefix", "cali,,tap"),
        ("vxlanPort", 0),
        ("endpointReportingEnabled", "perhaps"),
        ("reportingInterval", "-3"),
        ("nftablesMarkMask", 1),
        ("logPrefix", 'x"; drop'),
        ("logActionRateLimit", "0/second"),
        ("logActionRateLimit", "10000/second"),
        ("logActionRateLimit", "5/week"),
        ("logActionRateLimit", "5"),
        ("logActionRateLimitBurst", 10000),
        ("nftablesFilterDenyAction", "Accept"),
        ("deviceRouteProtocol", 2),
        ("openstackRegion", "a/b"),
        ("failsafeInboundHostPorts", "tcp:22,icmp:0"),
        ("failsafeOutboundHostPorts", [{"protocol": "ICMP", "port": 8}]),
        ("natPortRange", "0:10"),
        ("natPortRange", "10:5"),
        ("natPortRange", "http"),
        ("natOutgoingAddress", "2001:db8::1"),
        ("natOutgoingExclusions", "Everything"),
        ("iptablesNATOutgoingInterfaceFilter", "eth0; drop"),
        ("floatingIPs", "Perhaps"),
        ("metadataAddr", "metadata.example.org"),
        ("metadataPort", 65536),
    ],
)
def test_a_wrong_value_is_named_and_the_next_lower_source_is_used(field: str, value: object) -> None:
    config, _, problems = merge_config([("FelixConfiguration default", {field: value})])
    assert config == FelixConfig()
    (name,) = problems
    assert name.lower().startswith(f"felixconfiguration default: {field.lower()}")


def test_durations_may_be_written_as_in_objects() -> None:
    config, _, problems = merge_config([("FelixConfiguration default", {"reportingTTL": "1m30s"})])
    assert (config.reporting_ttl_s, problems) == (90.0, {})


def test_only_settings_that_shape_the_dataplane_need_a_new_start() -> None:
    live, _, _ = merge_config([("environment", {"endpointReportingEnabled": "true"})])
    shaping, _, _ = merge_config([("environment", {"interfacePrefix": "tap"})])
    assert needs_restart(FelixConfig(), live) == []
    assert needs_restart(FelixConfig(), shaping) == ["InterfacePrefix"]


def test_nat_settings_are_read_from_objects_and_environment() -> None:
    objects = {"natPortRange": "32768:60999", "natOutgoingExclusions": "IPPoolsAndHostIPs", "floatingIPs": "Enabled"}
    environment = {"NATOUTGOINGADDRESS": "192.0.2.7", "IPTABLESNATOUTGOINGINTERFACEFILTER": "eth+"}
    config, _, problems = merge_config([("FelixConfiguration default", objects), ("environment", environment)])
    assert problems == {}
    assert config.nat_port_range == (32768, 60999)
    assert config.nat_outgoing_exclusions == "ippoolsandhostips"
    assert config.floating_ips == "enabled"
    assert config.nat_outgoing_address == "192.0.2.7"
    assert config.nat_outgoing_interface == "eth+"


def test_a_single_nat_port_is_a_range_of_one() -> None:
    config, _, _ = merge_config([("FelixConfiguration default", {"natPortRange": 4000})])
    assert config.nat_port_range == (4000, 4000)


@pytest.mark.parametrize(
    ("value", "is_openstack"),
    [
        ({}, False),
        ({"clusterType": "k8s,bgp"}, False),
        ({"clusterType": "bgp,openstack"}, True),
        ({"metadataAddr": "10.0.0.1"}, True),
        ({"metadataAddr": "None"}, True),
        ({"metadataPort": 80}, True),
        ({"interfacePrefix": "cali,tap"}, True),
        ({"interfacePrefix": "taps"}, False),
    ],
)
def test_one_setting_of_openstacks_makes_workloads_openstacks(value: dict[str, object], is_openstack: bool) -> None:
    config, _, problems = merge_config([("FelixConfiguration default", value)])
    assert (config.openstack, problems) == (is_openstack, {})


def test_every_parameter_sets_an_attribute_of_the_configuration() -> None:
    assert {parameter.attribute for parameter in PARAMETERS} == set(FelixConfig.__struct_fields__)


@pytest.mark.parametrize(
    ("limit", "rate"),
    [("", None), ("100/second", (100, 1)), ("5/minute", (5, 60)), ("9999/hour", (9999, 3600)), ("1/day", (1, 86400))],
)
def test_a_rate_of_logging_is_a_number_in_a_time(limit: str, rate: tuple[int, int] | None) -> None:
    config, _, problems = merge_config([("x", {"logActionRateLimit": limit, "logActionRateLimitBurst": 7})])
    assert problems == {}
    rules = rules_config(config)
    assert (rules.log_rate, rules.log_burst) == (rate, 7)


def test_the_deny_action_of_the_iptables_dataplane_counts_where_ours_is_not_given() -> None:
    alias = {"iptablesFilterDenyAction": "Reject"}
    assert merge_config([("environment", alias)])[0].deny_action == "reject"
    own = {"nftablesFilterDenyAction": "Drop"}
    assert merge_config([("default", own), ("environment", alias)])[0].deny_action == "drop"
    config, _, problems = merge_config([("default", {"iptablesFilterDenyAction": "Perhaps"})])
    assert config.deny_action == "drop"
    assert list(problems) == ["default: IptablesFilterDenyAction"]
