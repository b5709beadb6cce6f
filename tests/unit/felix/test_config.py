"""Felix's settings: which source wins, and what happens to values that are wrong."""

import json
from pathlib import Path

import msgspec
import pytest

from calico.errors import InvalidInput
from calico.felix.config.failsafe import failsafe_ports, failsafe_text
from calico.felix.config.foreign import AT_START, foreign
from calico.felix.config.merging import merge_config, needs_restart
from calico.felix.config.parameters import PARAMETERS, Parameter
from calico.felix.config.settings import FelixConfig
from calico.felix.config.sources import of_environment, of_file
from calico.felix.host import rules_config
from calico.model.felixconfig import FelixConfigurationSpec

PUBLISHED = Path(__file__).parents[4] / "shared/conformance/felix_params.json"


def test_without_sources_every_setting_has_its_built_in_default() -> None:
    merged = merge_config([])
    assert (merged.settings, merged.given, merged.refused, merged.idle) == (FelixConfig(), {}, {}, {})
    assert {merged.origin(parameter) for parameter in PARAMETERS} == {"default"}


def test_a_later_source_wins_and_is_remembered() -> None:
    merged = merge_config(
        [
            ("FelixConfiguration default", {"defaultEndpointToHostAction": "Return", "interfacePrefix": "tap"}),
            ("FelixConfiguration node.h1", {"defaultEndpointToHostAction": "Accept"}),
            ("environment", {"REPORTINGINTERVALSECS": "5"}),
        ]
    )
    assert merged.settings.endpoint_to_host == "accept"
    assert merged.settings.interface_prefixes == ("tap",)
    assert merged.settings.reporting_interval_s == 5.0
    origins = {parameter.key: merged.origin(parameter) for parameter in PARAMETERS}
    assert {key: origin for key, origin in origins.items() if origin != "default"} == {
        "DefaultEndpointToHostAction": "FelixConfiguration node.h1",
        "InterfacePrefix": "FelixConfiguration default",
        "ReportingIntervalSecs": "environment",
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
    merged = merge_config([("FelixConfiguration default", {field: value})])
    config, problems = merged.settings, merged.refused
    assert config == FelixConfig()
    (name,) = problems
    assert name.lower().startswith(f"felixconfiguration default: {field.lower()}")


def test_durations_may_be_written_as_in_objects() -> None:
    merged = merge_config([("FelixConfiguration default", {"reportingTTL": "1m30s"})])
    config, problems = merged.settings, merged.refused
    assert (config.reporting_ttl_s, problems) == (90.0, {})


def test_only_settings_that_shape_the_dataplane_need_a_new_start() -> None:
    live = merge_config([("environment", {"endpointReportingEnabled": "true"})]).settings
    shaping = merge_config([("environment", {"interfacePrefix": "tap"})]).settings
    assert needs_restart(FelixConfig(), live) == []
    assert needs_restart(FelixConfig(), shaping) == ["InterfacePrefix"]


def test_nat_settings_are_read_from_objects_and_environment() -> None:
    objects = {"natPortRange": "32768:60999", "natOutgoingExclusions": "IPPoolsAndHostIPs", "floatingIPs": "Enabled"}
    environment = {"NATOUTGOINGADDRESS": "192.0.2.7", "IPTABLESNATOUTGOINGINTERFACEFILTER": "eth+"}
    merged = merge_config([("FelixConfiguration default", objects), ("environment", environment)])
    config, problems = merged.settings, merged.refused
    assert problems == {}
    assert config.nat_port_range == (32768, 60999)
    assert config.nat_outgoing_exclusions == "ippoolsandhostips"
    assert config.floating_ips == "enabled"
    assert config.nat_outgoing_address == "192.0.2.7"
    assert config.nat_outgoing_interface == "eth+"


def test_a_single_nat_port_is_a_range_of_one() -> None:
    config = merge_config([("FelixConfiguration default", {"natPortRange": 4000})]).settings
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
    merged = merge_config([("FelixConfiguration default", value)])
    config, problems = merged.settings, merged.refused
    assert (config.openstack, problems) == (is_openstack, {})


def test_every_parameter_sets_an_attribute_of_the_configuration() -> None:
    assert {parameter.attribute for parameter in PARAMETERS} == set(FelixConfig.__struct_fields__)


@pytest.mark.parametrize(
    ("limit", "rate"),
    [("", None), ("100/second", (100, 1)), ("5/minute", (5, 60)), ("9999/hour", (9999, 3600)), ("1/day", (1, 86400))],
)
def test_a_rate_of_logging_is_a_number_in_a_time(limit: str, rate: tuple[int, int] | None) -> None:
    merged = merge_config([("x", {"logActionRateLimit": limit, "logActionRateLimitBurst": 7})])
    config, problems = merged.settings, merged.refused
    assert problems == {}
    rules = rules_config(config)
    assert (rules.log_rate, rules.log_burst) == (rate, 7)


def test_the_deny_action_of_the_iptables_dataplane_counts_where_ours_is_not_given() -> None:
    alias = {"iptablesFilterDenyAction": "Reject"}
    assert merge_config([("environment", alias)]).settings.deny_action == "reject"
    own = {"nftablesFilterDenyAction": "Drop"}
    assert merge_config([("default", own), ("environment", alias)]).settings.deny_action == "drop"
    merged = merge_config([("default", {"iptablesFilterDenyAction": "Perhaps"})])
    config, problems = merged.settings, merged.refused
    assert config.deny_action == "drop"
    assert list(problems) == ["default: IptablesFilterDenyAction"]


def test_every_value_given_is_accounted_for() -> None:
    merged = merge_config(
        [
            ("FelixConfiguration default", {"vxlanPort": 4790}),
            ("FelixConfiguration node.h1", {"vxlanPort": 4791}),
            ("environment", {"VXLANPORT": "0x10000"}),
        ]
    )
    assert merged.settings.vxlan_port == 4791
    account = merged.given["VXLANPort"]
    assert [(given.source, given.value, given.verdict) for given in account] == [
        ("FelixConfiguration default", 4790, "overridden"),
        ("FelixConfiguration node.h1", 4791, "used"),
        ("environment", "0x10000", "refused"),
    ]
    (row,) = [row for row in merged.as_data() if row["parameter"] == "VXLANPort"]
    assert (row["value"], row["source"], row["effect"]) == ("4791", "FelixConfiguration node.h1", "restart")
    assert "between 1 and 65535" in row["given"][2]["problem"]


def test_a_name_that_is_no_parameter_is_named_with_what_may_be_meant() -> None:
    merged = merge_config([("environment", {"INTERFACEPREFIXES": "tap", "NOTHINGLIKEIT": "1", "HOSTNAME": "h"})])
    assert merged.settings == FelixConfig()
    assert merged.refused["environment: INTERFACEPREFIXES"] == "there is no such parameter; is InterfacePrefix meant?"
    assert merged.refused["environment: NOTHINGLIKEIT"] == "there is no such parameter"


def test_a_parameter_of_calico_that_changes_nothing_here_is_named_unless_it_says_what_is_true_anyway() -> None:
    idle = merge_config(
        [
            (
                "FelixConfiguration default",
                {"bpfEnabled": False, "bpfLogLevel": "", "iptablesRefreshInterval": "3m", "nodeSelector": "all()"},
            ),
            (
                "FelixConfiguration node.h1",
                {"bpfEnabled": True, "bpfConntrackMode": "Userspace", "iptablesRefreshInterval": "9s"},
            ),
        ]
    ).idle
    assert set(idle) == {
        "FelixConfiguration node.h1: BPFEnabled",
        "FelixConfiguration node.h1: BPFConntrackCleanupMode",
        "FelixConfiguration node.h1: IptablesRefreshInterval",
    }
    assert "eBPF" in idle["FelixConfiguration node.h1: BPFEnabled"]


def test_what_the_command_takes_from_the_environment_is_no_mistake() -> None:
    given = {name.upper(): "x" for name in AT_START}
    merged = merge_config([("environment", given)])
    assert (merged.refused, merged.idle) == ({}, {})
    idle = merge_config([("FelixConfiguration default", {"logFilePath": "/x"})]).idle
    assert "before the datastore" in idle["FelixConfiguration default: LogFilePath"]


def test_every_field_of_the_object_is_a_parameter_or_said_to_be_without_effect() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(FelixConfigurationSpec)}
    known = {name.lower() for parameter in PARAMETERS for name in parameter.names} | set(foreign())
    known |= {name.lower() for name in AT_START}
    assert {field for field in fields if field.lower() not in known} == {"nodeSelector"}


def test_every_parameter_of_calico_is_known_in_one_way() -> None:
    if not PUBLISHED.exists():
        pytest.skip("the published table of parameters is not here")
    ours = {name.lower() for parameter in PARAMETERS for name in parameter.names}
    at_start = {name.lower() for name in AT_START}
    for entry in json.loads(PUBLISHED.read_text())["params"]:
        for name in filter(None, (entry["config_key"], entry["yaml"])):
            ways = [name.lower() in names for names in (ours, at_start, foreign())]
            assert sum(ways) == 1, name
        if entry["config_key"].lower() in foreign():
            assert foreign()[entry["config_key"].lower()].is_default(entry["default"])


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.key)
def test_what_is_shown_of_a_default_can_be_given(parameter: Parameter) -> None:
    default = getattr(FelixConfig(), parameter.attribute)
    shown = parameter.shown(default)
    if shown and parameter.key != "ClusterType":
        assert parameter.parse(shown) == default


def test_shown_failsafe_ports_keep_their_networks() -> None:
    text = "tcp:10.0.0.0/8:22,udp:[fd00::/8]:53,sctp:9"
    assert failsafe_text(failsafe_ports(text)) == text


def test_variables_are_parameters_in_any_case_and_others_are_not_looked_at() -> None:
    assert of_environment({"FELIX_InterfacePrefix": "tap", "felix_logprefix": "x", "PATH": "/bin"}) == {
        "INTERFACEPREFIX": "tap",
        "LOGPREFIX": "x",
    }


def test_a_file_has_sections_that_all_say_the_same() -> None:
    text = "# what\n[global]\nInterfacePrefix = tap\nLogPrefix = %t: %n\n[other]\nVXLANPort=4790\n"
    assert of_file(text, "f") == {"InterfacePrefix": "tap", "LogPrefix": "%t: %n", "VXLANPort": "4790"}
    assert merge_config([("f", of_file(text, "f"))]).settings.log_prefix == "%t: %n"


@pytest.mark.parametrize("text", ["InterfacePrefix = tap\n", "[global]\nInterfacePrefix\n", "[global\nx = y\n"])
def test_a_file_that_is_none_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(InvalidInput, match="line"):
        of_file(text, "felix.cfg")
