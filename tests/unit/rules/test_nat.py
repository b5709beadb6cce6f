"""Address translation, one sentence of the specification at a time."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from calico.calc.messages import ALL_HOSTS, IPAM_POOLS, MASQ_POOLS, EndpointRemove, IPSetDelta, IPSetRemove, IPSetUpdate
from calico.errors import InvalidInput
from calico.lib.packed import addr_bytes, net
from calico.netlink.nftables.expr import Immediate
from calico.rules.config import RulesConfig
from calico.rules.evaluator.evaluate import Packet, forward, from_host, to_host
from retained import retained

OUT = {4: addr_bytes("203.0.113.7"), 6: addr_bytes("2001:db8:7::7")}
OWN = {4: "10.0.0.1", 6: "fd00::1"}
EXTERNAL = {4: "192.0.2.9", 6: "2001:db8::9"}
OUTSIDE = {4: "198.51.100.1", 6: "2001:db8:1::1"}
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def nets(set_id: str, *texts: str) -> IPSetUpdate:
    return IPSetUpdate(id=set_id, kind="nets", members=frozenset(map(net, texts)))


POOLS = nets(IPAM_POOLS, "10.0.0.0/16", "fd00::/64")
MASQUERADED = nets(MASQ_POOLS, "10.0.0.0/16", "fd00::/64")


def packet(host: Any, src: str, dst: str, source: str, destination: str, **fields: Any) -> Packet:
    flow = host.flow(src, dst, **fields)
    return Packet(data=flow.data(), iifname=source, oifname=destination, out_address=OUT[flow.version])


def ends(data: bytes) -> tuple[str, int, str, int]:
    """Source, its port, destination, its port."""
    v4 = data[0] >> 4 == 4
    addresses = (data[12:16], data[16:20]) if v4 else (data[8:24], data[24:40])
    ports = data[20:24] if v4 else data[40:44]
    source, destination = (str(ipaddress.ip_address(address)) for address in addresses)
    return source, int.from_bytes(ports[:2], "big"), destination, int.from_bytes(ports[2:], "big")


def leaves(host: Any, src: str, dst: str, source: str, destination: str, **fields: Any) -> tuple[str, int, str, int]:
    outcome = forward(host.state, packet(host, src, dst, source, destination, **fields))
    assert outcome.verdict == "accept"
    return ends(outcome.data)


def source_outside(host: Any, family: int, interface: str = "eth0", **fields: Any) -> str:
    return leaves(host, OWN[family], OUTSIDE[family], "cali1", interface, **fields)[0]


def nat_chains(host: Any) -> set[str]:
    return {name for name in host.state.chains if name.startswith("nat-")}


def floating(host: Any) -> Any:
    return host.workload(1, nats=tuple((OWN[family], EXTERNAL[family]) for family in (4, 6)))


@pytest.fixture
def masquerading(host: Any) -> Any:
    host.workload(1)
    host.say(POOLS, MASQUERADED)
    return host


def test_without_anything_to_translate_there_is_no_chain_and_no_map(host: Any) -> None:
    host.workload(1)
    host.say(POOLS)
    assert nat_chains(host) == set()
    assert not any(name.startswith("fip-") for name in host.state.sets)


def test_the_chains_of_masquerading_come_and_go_with_its_pools(masquerading: Any) -> None:
    assert nat_chains(masquerading) == {"nat-postrouting", "nat-outgoing"}
    masquerading.say(IPSetRemove(id=MASQ_POOLS), IPSetRemove(id=IPAM_POOLS))
    assert nat_chains(masquerading) == set()


def test_the_chains_and_maps_of_floating_addresses_come_and_go_with_the_first_and_last(host: Any) -> None:
    identity = floating(host)
    assert nat_chains(host) == {"nat-prerouting", "nat-output", "nat-postrouting"}
    host.workload(2, nats=(("10.0.0.2", "192.0.2.8"),))
    host.say(EndpointRemove(id=identity))
    assert nat_chains(host) == {"nat-prerouting", "nat-output", "nat-postrouting"}
    host.workload(2)
    assert nat_chains(host) == set()
    assert not any(name.startswith("fip-") for name in host.state.sets)


@FAMILIES
def test_what_leaves_the_pools_gets_the_address_of_its_interface(masquerading: Any, family: int) -> None:
    assert addr_bytes(source_outside(masquerading, family)) == OUT[family]


@FAMILIES
def test_what_stays_in_the_pools_keeps_its_address(masquerading: Any, family: int) -> None:
    inside = {4: "10.0.200.1", 6: "fd00::ffff"}[family]
    assert leaves(masquerading, OWN[family], inside, "cali1", "eth0")[0] == OWN[family]


@FAMILIES
def test_a_pool_that_comes_later_is_inside_and_one_that_goes_outside(masquerading: Any, family: int) -> None:
    pool = frozenset((net({4: "198.51.100.0/24", 6: "2001:db8:1::/64"}[family]),))
    masquerading.say(IPSetDelta(id=IPAM_POOLS, added=pool, removed=frozenset()))
    assert source_outside(masquerading, family) == OWN[family]
    masquerading.say(IPSetDelta(id=IPAM_POOLS, added=frozenset(), removed=pool))
    assert addr_bytes(source_outside(masquerading, family)) == OUT[family]


@FAMILIES
def test_what_others_send_keeps_its_address(masquerading: Any, family: int) -> None:
    assert leaves(masquerading, OUTSIDE[family], OWN[family], "eth0", "cali1")[0] == OUTSIDE[family]


@FAMILIES
def test_hosts_are_outside_unless_they_are_excluded(make_host: Any, family: int) -> None:
    for excluded in (False, True):
        host = make_host(nat_excludes_hosts=excluded)
        host.workload(1)
        host.say(nets(ALL_HOSTS, OUTSIDE[4], OUTSIDE[6]), POOLS, MASQUERADED)
        wanted = OWN[family] if excluded else ipaddress.ip_address(OUT[family]).compressed
        assert source_outside(host, family) == wanted


def test_nothing_is_masqueraded_before_it_is_known_what_is_inside(make_host: Any) -> None:
    host = make_host(nat_excludes_hosts=True)
    host.workload(1)
    host.say(MASQUERADED, POOLS)
    assert source_outside(host, 4) == OWN[4]
    host.say(nets(ALL_HOSTS))
    assert source_outside(host, 4) != OWN[4]


@pytest.mark.parametrize("config", [{"openstack": True}, {"metadata_v4": addr_bytes("127.0.0.1")}])
def test_without_openstack_or_an_address_there_is_no_metadata_service(make_host: Any, config: dict[str, Any]) -> None:
    assert nat_chains(make_host(**config)) == set()


@FAMILIES
def test_no_external_address_is_used_before_it_is_known_what_is_inside(make_host: Any, family: int) -> None:
    host = make_host(nat_excludes_hosts=True)
    floating(host)
    assert source_outside(host, family) == OWN[family]
    host.say(POOLS)
    assert source_outside(host, family) == OWN[family], "hosts are not known yet"
    host.say(nets(ALL_HOSTS, "192.0.2.100", "2001:db8::100"))
    assert source_outside(host, family) == EXTERNAL[family]


def rules_of(host: Any, chain: str, comment: str) -> list[Any]:
    return [rule for rule in host.state.chains[chain].rules if rule.comment == comment]


@pytest.mark.parametrize(("name", "count"), [("", 0), ("+", 0), ("eth+", 1), ("eth0", 1)])
def test_interfaces_are_asked_for_only_when_one_is_wanted_and_something_is_masqueraded(
    make_host: Any, name: str, count: int
) -> None:
    host = make_host(nat_interface=name)
    floating(host)
    host.say(POOLS)
    assert len(rules_of(host, "nat-postrouting", "another interface")) == 0
    host.say(MASQUERADED)
    assert len(rules_of(host, "nat-postrouting", "another interface")) == count


@pytest.mark.parametrize("ports", [None, (1000, 1000), (1000, 1005)])
def test_ports_are_chosen_at_random_from_what_was_loaded(make_host: Any, ports: tuple[int, int] | None) -> None:
    host = make_host(nat_address_v4=addr_bytes("203.0.113.50"), nat_ports=ports)
    host.say(POOLS, MASQUERADED)
    numbers = {None: [], (1000, 1000): [1000], (1000, 1005): [1000, 1005]}[ports]
    of_protocol = 0
    for rule in host.state.chains["nat-outgoing"].rules:
        action, loaded = rule.exprs[-1], {e.reg: e.data for e in rule.exprs if isinstance(e, Immediate)}
        assert action.random_fully
        used = [number for number in (action.port_min, action.port_max) if number is not None]
        of_protocol += bool(used)
        assert [int.from_bytes(loaded[number], "big") for number in used] == (numbers if used else [])
        assert len(loaded) == len(used) + (getattr(action, "address", None) is not None)
    assert of_protocol == (6 if ports else 0), "TCP, UDP and SCTP, with each address"


@pytest.mark.parametrize("protocol", [6, 17, 132])
def test_source_ports_are_within_the_range(make_host: Any, protocol: int) -> None:
    host = make_host(nat_ports=(1000, 1005))
    host.workload(1)
    host.say(POOLS, MASQUERADED)
    assert leaves(host, OWN[4], OUTSIDE[4], "cali1", "eth0", protocol=protocol, sport=999)[1] == 1000
    assert leaves(host, OWN[4], OUTSIDE[4], "cali1", "eth0", protocol=protocol, sport=1003)[1] == 1003
    assert addr_bytes(source_outside(host, 4, protocol=1)) == OUT[4]


@FAMILIES
def test_an_own_address_for_outgoing_connections_replaces_the_interfaces_for_ipv4(make_host: Any, family: int) -> None:
    host = make_host(nat_address_v4=addr_bytes("203.0.113.50"), nat_ports=(1000, 1000))
    host.workload(1)
    host.say(POOLS, MASQUERADED)
    wanted = "203.0.113.50" if family == 4 else ipaddress.ip_address(OUT[6]).compressed
    assert leaves(host, OWN[family], OUTSIDE[family], "cali1", "eth0")[:2] == (wanted, 1000)
    assert source_outside(host, family, protocol=47) == wanted


@pytest.mark.parametrize(
    ("name", "interface", "is_translated"),
    [
        ("eth0", "eth0", True),
        ("eth0", "eth01", False),
        ("eth", "eth0", False),
        ("eth+", "eth0", True),
        ("eth+", "ens1", False),
        ("eth+", "et0", False),
        ("+", "ens1", True),
    ],
)
def test_only_what_leaves_by_the_wanted_interface_is_masqueraded(
    make_host: Any, name: str, interface: str, is_translated: bool
) -> None:
    host = make_host(nat_interface=name)
    host.workload(1)
    host.say(POOLS, MASQUERADED)
    assert (source_outside(host, 4, interface) != OWN[4]) == is_translated


@FAMILIES
def test_an_external_address_is_translated_to_the_own_one(host: Any, family: int) -> None:
    floating(host)
    wanted = (OUTSIDE[family], 40000, OWN[family], 80)
    assert leaves(host, OUTSIDE[family], EXTERNAL[family], "eth0", "cali1") == wanted


@FAMILIES
def test_the_hosts_own_packets_to_an_external_address_are_translated(host: Any, family: int) -> None:
    floating(host)
    sent = from_host(host.state, packet(host, OUTSIDE[family], EXTERNAL[family], "", "cali1"))
    assert (sent.verdict, ends(sent.data)[2]) == ("accept", OWN[family])


@FAMILIES
def test_a_workload_reaches_itself_under_its_external_address(host: Any, family: int) -> None:
    floating(host)
    wanted = (EXTERNAL[family], 40000, OWN[family], 80)
    assert leaves(host, OWN[family], EXTERNAL[family], "cali1", "cali1") == wanted


@FAMILIES
def test_what_a_workload_sends_outside_comes_from_its_external_address(host: Any, family: int) -> None:
    floating(host)
    host.workload(2)
    host.say(POOLS, MASQUERADED)
    assert source_outside(host, family) == EXTERNAL[family]
    assert leaves(host, OWN[family], {4: "10.0.0.2", 6: "fd00::2"}[family], "cali1", "cali2")[0] == OWN[family]


def test_of_several_external_addresses_of_one_own_the_first_is_its_source(host: Any) -> None:
    host.workload(1, nats=((OWN[4], "192.0.2.9"), (OWN[4], "192.0.2.8")))
    host.say(POOLS)
    assert source_outside(host, 4) == "192.0.2.9"
    for external in ("192.0.2.9", "192.0.2.8"):
        assert leaves(host, OUTSIDE[4], external, "eth0", "cali1")[2] == OWN[4]
    host.workload(1, nats=((OWN[4], "192.0.2.8"),))
    assert source_outside(host, 4) == "192.0.2.8"


def test_of_several_that_own_an_address_the_lower_id_says_what_it_goes_out_as(host: Any) -> None:
    for number in (5, 9, 1, 8, 2, 7, 3, 6, 4):
        host.workload(number, nets=(OWN[4],), nats=((OWN[4], f"192.0.2.{number}"),))
    assert host.state.elements("fip-snat4") == {addr_bytes(OWN[4]): addr_bytes("192.0.2.1")}


def test_floating_addresses_are_forgotten_with_their_endpoint(host: Any) -> None:
    identity = floating(host)
    assert addr_bytes(EXTERNAL[4]) in retained(host.ruleset)
    host.say(EndpointRemove(id=identity))
    host.state.take()
    addresses = {addr_bytes(text) for texts in (OWN, EXTERNAL) for text in texts.values()}
    assert not addresses & retained(host.ruleset)


def test_a_hundred_floating_addresses_have_room_in_the_maps_and_keep_it(host: Any) -> None:
    for number in range(1, 101):
        own = {4: f"10.0.0.{number}", 6: f"fd00::{number}"}
        nats = ((own[4], f"192.0.2.{number}"), (own[6], f"2001:db8::{number}"))
        host.workload(number, nets=tuple(own.values()), nats=nats)
    maps = {name for name in host.state.sets if name.startswith("fip-")}
    assert {(len(host.state.elements(name)), host.state.sets[name].size > 130) for name in maps} == {(100, True)}
    host.state.take()
    host.workload(1, nats=((OWN[4], "192.0.2.1"),))
    assert not maps & host.state.take().sets


def test_while_two_claim_an_external_address_the_lower_id_has_it_in_both_directions(host: Any) -> None:
    host.workload(2, nats=(("10.0.0.2", "192.0.2.9"),))
    first = host.workload(1, nats=((OWN[4], "192.0.2.9"),))
    host.say(POOLS)
    assert leaves(host, OUTSIDE[4], "192.0.2.9", "eth0", "cali1")[2] == OWN[4]
    assert leaves(host, "10.0.0.2", OUTSIDE[4], "cali2", "eth0")[0] == "10.0.0.2"
    host.say(EndpointRemove(id=first))
    assert leaves(host, OUTSIDE[4], "192.0.2.9", "eth0", "cali2")[2] == "10.0.0.2"
    assert leaves(host, "10.0.0.2", OUTSIDE[4], "cali2", "eth0")[0] == "192.0.2.9"


def test_the_metadata_service_is_led_to_its_server_for_workloads_only(make_host: Any) -> None:
    host = make_host(openstack=True, metadata_v4=addr_bytes("127.0.0.1"), metadata_port=8775)
    host.workload(1, profiles=())
    asked = packet(host, OWN[4], "169.254.169.254", "cali1", "", dport=80)
    outcome = to_host(host.state, asked)
    assert (outcome.verdict, ends(outcome.data)[2:]) == ("accept", ("127.0.0.1", 8775))
    for other in (
        packet(host, OWN[4], "169.254.169.254", "cali1", "", dport=81),
        packet(host, OWN[4], "169.254.169.254", "cali1", "", dport=80, protocol=17),
        packet(host, OWN[4], "169.254.169.253", "cali1", "", dport=80),
    ):
        assert to_host(host.state, other).verdict == "drop"
    outside = packet(host, OUTSIDE[4], "169.254.169.254", "eth0", "", dport=80)
    assert ends(to_host(host.state, outside).data)[2] == "169.254.169.254"


@pytest.mark.parametrize(
    "wrong",
    [
        {"nat_ports": (0, 10)},
        {"nat_ports": (10, 9)},
        {"nat_ports": (1, 65536)},
        {"nat_interface": "x" * 16},
        {"nat_address_v4": bytes(16)},
    ],
)
def test_settings_that_cannot_be_rendered_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        RulesConfig(**wrong)
    assert refusal.value.field in wrong
