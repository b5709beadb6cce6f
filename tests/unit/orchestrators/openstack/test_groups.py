"""Security groups: what is converted allows exactly what Neutron's API reference says, or less and says so."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.model.policy import NetworkPolicy, NetworkSet
from calico.orchestrators.openstack.convert import (
    Converted,
    Options,
    convert_address_group,
    convert_port,
    convert_security_group,
)
from calico.orchestrators.openstack.facts import AddressGroup, AddressPair, SecurityGroup, SecurityGroupRule
from cloud.judged import Judge
from cloud.made import group, ident, port, rule, view
from cloud.semantics import NAMES, Cloud, Seen, number_of, refused

OPTIONS = Options()
OWN = {4: "10.65.0.1", 6: "fd00:65::1"}
FAR = {
    4: ["198.51.100.7", "203.0.113.5", "10.65.0.2", "10.65.0.3", "10.65.9.9"],
    6: ["2001:db8:7::7", "2001:db8:8::5", "fd00:65::2", "fd00:65::3", "fd00:65::9:9"],
}
PEERS = group("peers")
PEER = port("peer", "10.65.0.2", "fd00:65::2", groups=(PEERS,))
LISTED = AddressGroup(
    id=ident("listed"), name="listed", addresses=("198.51.100.0/24", "10.65.0.3/32", "2001:db8:7::/48")
)
OTHERS = [
    convert_security_group(PEERS, OPTIONS),
    convert_address_group(LISTED, OPTIONS),
    convert_port(view(PEER, PEERS), OPTIONS),
]
FORMS: list[str | int | None] = [
    None, "any", "ANY", "0", 0, *NAMES, "TCP", "Icmp", "99", 99, "255", "nonsense", "256", "-7", "tcp ",
    *(str(number) for number in sorted(set(NAMES.values()))), 1, 6, 58, 136,
]  # fmt: skip
RANGES: list[tuple[int | None, int | None]] = [
    (None, None), (80, 80), (1, 1024), (0, 0), (8, None), (0, None), (128, 0), (0, 65535), (None, 80), (255, None),
    (90, 80),
]  # fmt: skip
FLOWS: list[dict[str, Any]] = [
    {"protocol": number, "port": at, "icmp": (0, 0)} for number in (6, 17, 132) for at in (1, 80, 1024, 1025)
] + [
    {"protocol": number, "port": 0, "icmp": icmp}
    for number in (1, 58)
    for icmp in ((0, 0), (8, 0), (8, 3), (80, 80), (128, 0), (255, 0))
] + [{"protocol": number} for number in sorted({*NAMES.values(), 99, 255} - {1, 6, 17, 58, 132})]  # fmt: skip


def _packets(direction: str, version: int, remotes: list[str]) -> list[Seen]:
    ends = [(far, OWN[version]) if direction == "ingress" else (OWN[version], far) for far in remotes]
    return [Seen(*pair, **flow) for pair in ends for flow in FLOWS]


def _cloud(tested: SecurityGroup) -> tuple[Cloud, Any, Judge, Converted]:
    own = port("own", OWN[4], OWN[6], groups=(tested,))
    converted = convert_security_group(tested, OPTIONS)
    world = [converted, convert_port(view(own, tested), OPTIONS)]
    others = any(one.remote_group_id or one.remote_address_group_id for one in tested.rules)
    return Cloud([own, PEER], [tested, PEERS], [LISTED]), own, Judge([*world, *OTHERS] if others else world), converted


def _check(tested: SecurityGroupRule, remotes: int) -> int:
    """Compare over packets; how many of them were allowed."""
    cloud, own, judge, converted = _cloud(group("tested", tested))
    version = 4 if tested.ethertype == "IPv4" else 6
    told, allowed = bool(converted.problems), 0
    assert told == (refused(tested) or _is_beyond_calico(tested)), tested
    near, other = (_packets(tested.direction, each, FAR[each][:remotes]) for each in (version, 10 - version))
    ends = (None, own) if tested.direction == "ingress" else (own, None)
    for packet in (*near, *other[::13]):
        if _is_never_sent(tested.direction, packet):
            continue
        ours, theirs = judge.forwards(*ends, packet), cloud.may(tested.direction, own, packet)
        assert not ours or theirs, (tested, packet)
        assert ours == theirs or told, (tested, packet)
        allowed += ours
    assert not (told and allowed), tested
    return allowed


def _is_beyond_calico(tested: SecurityGroupRule) -> bool:
    """What the API takes and Calico cannot match: ports of DCCP and UDP-Lite, and ICMP's last type."""
    number, low = number_of(tested), tested.port_range_min
    return (number in (33, 136) and low is not None) or (number in (1, 58) and low == 255)


def _has_numbers(form: str | int | None) -> bool:
    """Whether the two numbers of a rule mean something: ports, or type and code."""
    number = NAMES.get(str(form).lower(), form)
    return str(number) in ("1", "6", "17", "33", "58", "132", "136")


def _is_never_sent(direction: str, packet: Seen) -> bool:
    """Redirects and router advertisements of instances are spoofing, whatever rules say."""
    return direction == "egress" and (packet.protocol, packet.icmp[0]) in ((1, 5), (58, 134), (58, 137))


@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("ethertype", ["IPv4", "IPv6"])
def test_every_form_of_protocol_and_range_allows_what_neutron_says(direction: str, ethertype: str) -> None:
    allowing = 0
    for form, (low, high) in itertools.product(FORMS, RANGES):
        if not _has_numbers(form) and (low, high) not in RANGES[:3]:
            continue
        tested = rule(direction, ethertype, protocol=form, port_range_min=low, port_range_max=high)
        allowing += bool(_check(tested, remotes=1))
    assert allowing > 50


@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("ethertype", ["IPv4", "IPv6"])
@pytest.mark.parametrize(
    "remote",
    [
        {"remote_ip_prefix": "198.51.100.0/24"},
        {"remote_ip_prefix": "198.51.100.7/24"},
        {"remote_ip_prefix": "10.65.0.3"},
        {"remote_ip_prefix": "0.0.0.0/0"},
        {"remote_ip_prefix": "::/0"},
        {"remote_ip_prefix": "2001:db8:7::/48"},
        {"remote_group_id": PEERS.id},
        {"remote_group_id": ident("tested")},
        {"remote_group_id": ident("of nobody")},
        {"remote_address_group_id": LISTED.id},
        {"remote_address_group_id": ident("of nobody")},
    ],
    ids=str,
)
def test_every_kind_of_remote_is_the_other_end(direction: str, ethertype: str, remote: dict[str, str]) -> None:
    for form, (low, high) in itertools.product([None, "tcp", "17", "icmp"], [(None, None), (80, 80)]):
        _check(rule(direction, ethertype, protocol=form, port_range_min=low, port_range_max=high, **remote), remotes=5)


def test_a_rule_for_an_address_group_is_not_a_rule_for_everybody() -> None:
    """networking-calico allows every source here."""
    tested = rule("ingress", protocol="tcp", port_range_min=22, port_range_max=22, remote_address_group_id=LISTED.id)
    _, own, judge, _ = _cloud(group("tested", tested))
    assert judge.forwards(None, own, Seen("198.51.100.7", OWN[4], 6, 22))
    assert not judge.forwards(None, own, Seen("203.0.113.5", OWN[4], 6, 22))


def test_icmp_by_number_is_not_a_range_of_ports() -> None:
    """networking-calico makes ports ``8:0`` and ``129:None`` of these."""
    echo = rule("ingress", protocol="1", port_range_min=8, port_range_max=0)
    reply = rule("ingress", "IPv6", protocol="58", port_range_min=129)
    policy = convert_security_group(group("tested", echo, reply), OPTIONS).documents[0].tree()
    assert policy["spec"]["ingress"] == [
        {"action": "Allow", "ipVersion": 4, "protocol": "ICMP", "icmp": {"type": 8, "code": 0}},
        {"action": "Allow", "ipVersion": 6, "protocol": "ICMPv6", "icmp": {"type": 129}},
    ]


def test_protocol_zero_is_any() -> None:
    """networking-calico makes protocol "0" of it, which is another."""
    policy = convert_security_group(group("tested", rule("egress", protocol="0")), OPTIONS).documents[0].tree()
    assert policy["spec"]["egress"] == [{"action": "Allow", "ipVersion": 4}]


def test_a_group_has_the_name_selector_and_bare_spec_of_networking_calico() -> None:
    tested = group(
        "web servers",
        rule("ingress", protocol="tcp", port_range_min=80, port_range_max=80, remote_ip_prefix="0.0.0.0/0"),
        rule("ingress", protocol="6", port_range_min=0, port_range_max=1024, remote_group_id=ident("other")),
        rule("egress", "IPv6"),
    )
    converted = convert_security_group(tested, OPTIONS)
    (document,) = converted.documents
    assert converted.problems == ()
    assert document.path == f"/calico/resources/v3/projectcalico.org/networkpolicies/openstack/ossg.default.{tested.id}"
    assert document.revision == 3
    assert document.tree()["spec"] == {
        "selector": f"has(sg.projectcalico.org/openstack-{tested.id})",
        "ingress": [
            {
                "action": "Allow",
                "ipVersion": 4,
                "protocol": "TCP",
                "source": {"nets": ["0.0.0.0/0"]},
                "destination": {"ports": [80]},
            },
            {
                "action": "Allow",
                "ipVersion": 4,
                "protocol": "TCP",
                "source": {"selector": f"has(sg.projectcalico.org/openstack-{ident('other')})"},
                "destination": {"ports": ["1:1024"]},
            },
        ],
        "egress": [{"action": "Allow", "ipVersion": 6}],
    }


def test_the_order_and_repetition_of_rules_makes_no_other_document() -> None:
    rules = [rule("ingress", protocol=name) for name in ("tcp", "udp", "icmp", "6", "UDP")]
    documents = {
        str(convert_security_group(group("tested", *order), OPTIONS).documents[0].tree())
        for order in (rules, rules[::-1], rules + rules)
    }
    assert len(documents) == 1
    assert documents.pop().count("Allow") == 3


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"protocol": "nonsense"}, "protocol-unknown"),
        ({"protocol": ""}, "protocol-unknown"),
        ({"protocol": True}, "protocol-unknown"),
        ({"protocol": "256"}, "protocol-unknown"),
        ({"protocol": "ipv6-icmp"}, "protocol-unknown"),
        ({"protocol": "dccp", "port_range_min": 1, "port_range_max": 2}, "ports-unsupported"),
        ({"protocol": "136", "port_range_min": 1, "port_range_max": 2}, "ports-unsupported"),
        ({"protocol": "gre", "port_range_min": 1, "port_range_max": 2}, "protocol-without-ports"),
        ({"port_range_min": 1, "port_range_max": 2}, "protocol-without-ports"),
        ({"protocol": "tcp", "port_range_min": 2, "port_range_max": 1}, "port-range-invalid"),
        ({"protocol": "tcp", "port_range_min": 0, "port_range_max": 0}, "port-range-invalid"),
        ({"protocol": "tcp", "port_range_max": 70000, "port_range_min": 1}, "port-range-invalid"),
        ({"protocol": "icmp", "port_range_min": 255}, "icmp-invalid"),
        ({"protocol": "icmp", "port_range_max": 3}, "icmp-invalid"),
        ({"protocol": "icmp", "port_range_min": 3, "port_range_max": 256}, "icmp-invalid"),
        ({"protocol": "icmp", "port_range_min": -1}, "icmp-invalid"),
        ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536}, "port-range-invalid"),
        ({"protocol": "tcp", "port_range_min": -1, "port_range_max": 5}, "port-range-invalid"),
        ({"remote_ip_prefix": "fd00::/8"}, "prefix-invalid"),
        ({"remote_ip_prefix": "10.0.0.0/33"}, "prefix-invalid"),
        ({"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": "g"}, "remotes-ambiguous"),
        ({"ethertype": "ARP"}, "ethertype-unknown"),
        ({"direction": "sideways"}, "direction-unknown"),
    ],
    ids=str,
)
def test_what_is_not_understood_allows_nothing_and_is_named(wrong: dict[str, Any], code: str) -> None:
    tested = rule(**{"direction": "ingress", **wrong})
    fine = rule("ingress", protocol="udp")
    converted = convert_security_group(group("tested", tested, fine), OPTIONS)
    (problem,) = converted.problems
    assert (problem.code, problem.kind, problem.id, problem.severity) == (
        code, "security_group", ident("tested"), "denied",
    )  # fmt: skip
    assert tested.id in problem.text
    assert not problem.text.endswith(": ")
    tree = converted.documents[0].tree()
    assert tree["spec"]["ingress"] == [{"action": "Allow", "ipVersion": 4, "protocol": "UDP"}]
    assert code in tree["metadata"]["annotations"]["openstack.projectcalico.org/problems"]


def test_a_stateless_group_is_enforced_and_the_difference_told() -> None:
    converted = convert_security_group(group("tested", rule("ingress"), stateful=False), OPTIONS)
    assert [(problem.code, problem.kind, problem.severity) for problem in converted.problems] == [
        ("group-stateless", "security_group", "notice")
    ]
    assert len(converted.documents[0].tree()["spec"]["ingress"]) == 1


def test_more_rules_than_a_policy_holds_allow_nothing_and_are_counted() -> None:
    rules = [rule("ingress", protocol="tcp", port_range_min=n, port_range_max=n) for n in range(1, 1030)]
    converted = convert_security_group(group("tested", *rules), OPTIONS)
    assert [(problem.code, problem.kind) for problem in converted.problems] == [("too-many-rules", "security_group")]
    assert not convert_security_group(group("tested", *rules[:1024]), OPTIONS).problems
    assert "5 allow nothing" in converted.problems[0].text
    resource = converted.documents[0].resource
    assert isinstance(resource, NetworkPolicy)
    assert len(resource.spec.ingress) == 1024


def test_many_problems_do_not_keep_the_good_rules_from_being_written() -> None:
    rules = [rule("ingress", protocol="x" * 300, remote_ip_prefix=str(n)) for n in range(1500)]
    converted = convert_security_group(group("tested", *rules, rule("ingress", protocol="tcp")), OPTIONS)
    assert len(converted.problems) == 1500
    assert len(converted.documents[0].tree()["spec"]["ingress"]) == 1


def test_a_group_that_cannot_be_named_has_no_policy_and_says_so() -> None:
    converted = convert_security_group(group("tested", rule("ingress"), id="Not/A Name"), OPTIONS)
    assert converted.documents == ()
    assert [(problem.code, problem.kind) for problem in converted.problems] == [("document-invalid", "security_group")]
    unnamed = convert_address_group(AddressGroup(id="Not/A Name"), OPTIONS)
    assert unnamed.documents == ()
    assert [(problem.code, problem.kind) for problem in unnamed.problems] == [("document-invalid", "address_group")]


def test_an_address_group_is_a_labelled_set_whose_bad_lines_are_left_out() -> None:
    odd = AddressGroup(
        id=ident("odd"), name="my list", addresses=("10.0.0.1", "10.0.0.9/24", "x", "fd00::/64", "10.0.0.0/24")
    )
    converted = convert_address_group(odd, Options(region="east"))
    (document,) = converted.documents
    assert document.path.endswith(f"/networksets/openstack-region-east/osag.{odd.id}")
    assert isinstance(document.resource, NetworkSet)
    assert document.resource.spec.nets == ("10.0.0.0/24", "10.0.0.1/32", "fd00::/64")
    assert document.resource.metadata.labels == {f"ag.projectcalico.org/openstack-{odd.id}": "my_list"}
    assert [(problem.code, problem.kind) for problem in converted.problems] == [("address-invalid", "address_group")]


# -- whole clouds, drawn --

_PREFIXES = ["10.65.0.0/30", "10.65.0.3/32", "0.0.0.0/0", "fd00:65::/126", "198.51.100.0/24", "2001:db8:7::/48"]
_GROUPS = [ident(f"group {n}") for n in range(3)]
_LISTS = [ident(f"list {n}") for n in range(2)]

remotes = st.one_of(
    st.just({}),
    st.builds(lambda text: {"remote_ip_prefix": text}, st.sampled_from(_PREFIXES)),
    st.builds(lambda text: {"remote_group_id": text}, st.sampled_from(_GROUPS)),
    st.builds(lambda text: {"remote_address_group_id": text}, st.sampled_from(_LISTS)),
)
services = st.one_of(
    st.just({}),
    st.builds(lambda name: {"protocol": name}, st.sampled_from(["tcp", "17", "icmp", "58", "sctp", "0"])),
    st.builds(
        lambda name, at: {"protocol": name, "port_range_min": at[0], "port_range_max": at[1]},
        st.sampled_from(["tcp", "6", "udp"]),
        st.sampled_from([(80, 80), (1, 1024), (1024, 65535)]),
    ),
)
rules = st.builds(
    lambda direction, ethertype, service, remote: rule(direction, ethertype, **service, **remote),
    st.sampled_from(["ingress", "egress"]),
    st.sampled_from(["IPv4", "IPv6"]),
    services,
    remotes,
)
anything = st.one_of(st.none(), st.integers(-2, 70000), st.text(max_size=5), st.sampled_from(["tcp", "58", "0"]))


@given(
    drawn=st.lists(
        st.fixed_dictionaries(
            {
                "direction": st.one_of(st.sampled_from(["ingress", "egress"]), st.text(max_size=3)),
                "ethertype": st.one_of(st.sampled_from(["IPv4", "IPv6"]), st.text(max_size=3)),
                "protocol": anything,
                "port_range_min": st.one_of(st.none(), st.integers(-2, 70000)),
                "port_range_max": st.one_of(st.none(), st.integers(-2, 70000)),
                "remote_ip_prefix": st.one_of(st.just(""), st.sampled_from(_PREFIXES), st.text(max_size=6)),
                "remote_group_id": st.one_of(st.just(""), st.sampled_from(_GROUPS)),
            }
        ),
        max_size=4,
    )
)
@settings(max_examples=100, deadline=None)
def test_whatever_the_database_holds_each_rule_is_converted_or_named(drawn: list[dict[str, Any]]) -> None:
    tested = group("tested", *(rule(**each) for each in drawn))
    converted = convert_security_group(tested, OPTIONS)
    (document,) = converted.documents
    spec = document.tree()["spec"]
    kept = len(spec.get("ingress", [])) + len(spec.get("egress", []))
    named = sum(any(one.id in problem.text for problem in converted.problems) for one in {*tested.rules})
    assert kept + named <= len(drawn)
    assert bool(drawn) == bool(kept + named)


ports = st.tuples(st.sets(st.sampled_from(_GROUPS)), st.booleans(), st.booleans())


@given(
    members=st.lists(ports, min_size=2, max_size=4),
    groups=st.tuples(*(st.lists(rules, max_size=4) for _ in _GROUPS)),
    lists=st.tuples(*(st.lists(st.sampled_from(_PREFIXES), max_size=2, unique=True) for _ in _LISTS)),
)
@settings(max_examples=60, deadline=None)
def test_every_two_ports_talk_exactly_when_neutron_says_so(
    members: list[tuple[set[str], bool, bool]], groups: tuple[list[SecurityGroupRule], ...], lists: Any
) -> None:
    made = [SecurityGroup(id=i, name=f"g{i}", rules=tuple(own)) for i, own in zip(_GROUPS, groups, strict=True)]
    listed = [AddressGroup(id=i, addresses=tuple(own)) for i, own in zip(_LISTS, lists, strict=True)]
    cloud_ports = [
        port(
            f"p{n}",
            f"10.65.0.{n}",
            f"fd00:65::{n}",
            groups=tuple(one for one in made if one.id in chosen),
            port_security_enabled=secured or not chosen,
            allowed_address_pairs=(AddressPair(ip_address=f"10.65.1.{n}"),) if paired else (),
        )
        for n, (chosen, secured, paired) in enumerate(members, 1)
    ]
    cloud = Cloud(cloud_ports, made, listed)
    judge = Judge(
        [
            *(convert_security_group(one, OPTIONS) for one in made),
            *(convert_address_group(one, OPTIONS) for one in listed),
            *(convert_port(view(one, *made), OPTIONS) for one in cloud_ports),
        ]
    )
    for source, destination in itertools.permutations(cloud_ports, 2):
        for version in (0, 1, 2):
            ends = [_address(end, version) for end in (source, destination)]
            if not all(ends):
                continue
            for number, at in ((6, 80), (6, 2000), (17, 80), (132, 80), (58 if version == 1 else 1, 0)):
                packet = Seen(ends[0], ends[1], number, at, (8, 0))
                expected = cloud.may("egress", source, packet) and cloud.may("ingress", destination, packet)
                assert judge.forwards(source, destination, packet) == expected, packet


def _address(of: Any, which: int) -> str:
    """A fixed address by family, or the paired one."""
    if which < 2:
        return str(of.fixed_ips[which].ip_address)
    return of.allowed_address_pairs[0].ip_address if of.allowed_address_pairs else ""
