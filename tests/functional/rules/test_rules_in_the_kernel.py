"""The rendered ruleset in a real kernel: it loads, it reads well, and real packets meet it."""

from __future__ import annotations

from typing import Any

import pytest

from calico.calc.messages import ActiveRule, IPSetUpdate, PolicyUpdate, ProfileUpdate, RuleSide, TierPolicies
from calico.dataplane.links import Links
from calico.lib.packed import addr_bytes, addr_port, net
from calico.model.keys import ResourceKey
from calico.rules.config import RulesConfig

pytestmark = pytest.mark.root

WEB = ResourceKey("NetworkPolicy", "default", "web")
OPEN = ProfileUpdate(name="open", ingress=(ActiveRule(action="allow"),), egress=(ActiveRule(action="allow"),))
TIER = TierPolicies(name="default", default_action="deny", ingress=(WEB,))
FAMILIES = pytest.mark.parametrize("family", ["v4", "v6"])


def web_policy(*rules: ActiveRule) -> PolicyUpdate:
    return PolicyUpdate(key=WEB, tier="default", ingress=rules, egress=())


def allow_port(port: int) -> ActiveRule:
    return ActiveRule(action="allow", protocol=17, dst=RuleSide(ports=((port, port),)))


def arrives(sender: Any, receivers: dict[int, Any], address: str) -> set[int]:
    """Which ports a datagram reaches; the highest one is always reached and sent to last."""
    for port in sorted(receivers):
        sender.sendto(b"probe", (address, port))
    last = max(receivers)
    receivers[last].recv(100)
    reached = {last}
    for port in set(receivers) - reached:
        receivers[port].setblocking(False)
        try:
            receivers[port].recv(100)
        except BlockingIOError:
            continue
        reached.add(port)
    return reached


@FAMILIES
def test_policy_decides_about_real_packets(host: Any, family: str) -> None:
    one, two = host.workloads
    target = getattr(one, family)
    host.apply(OPEN, web_policy(allow_port(53), allow_port(9999)), host.endpoint(two, profiles=("open",)))
    host.apply(host.endpoint(one, tiers=(TIER,)))
    with two.udp(getattr(two, family), 40000) as sender:
        receivers = {port: one.udp(target, port) for port in (53, 80, 9999)}
        assert arrives(sender, receivers, target) == {53, 9999}
        host.apply(web_policy(allow_port(80), allow_port(9999)))
    with two.udp(getattr(two, family), 40001) as sender:
        assert arrives(sender, receivers, target) == {80, 9999}
    for receiver in receivers.values():
        receiver.close()


@FAMILIES
def test_a_workload_cannot_send_from_an_address_of_another(host: Any, family: str) -> None:
    one, two = host.workloads
    stolen = {"v4": "10.65.0.77", "v6": "fd00:65::77"}[family]
    with Links(two.netns) as links:
        links.add_address("eth0", f"{stolen}/{32 if family == 'v4' else 128}")
    host.apply(OPEN, host.endpoint(one, profiles=("open",)), host.endpoint(two, profiles=("open",)))
    target = getattr(one, family)
    own = getattr(two, family)
    with one.udp(target, 53) as receiver, two.udp(stolen, 40000) as spoofer, two.udp(own, 40000) as sender:
        spoofer.sendto(b"spoofed", (target, 53))
        sender.sendto(b"genuine", (target, 53))
        assert receiver.recv(100) == b"genuine"
        host.apply(host.endpoint(two, profiles=("open",), nets=(net(stolen), net(own))))
        spoofer.sendto(b"allowed now", (target, 53))
        assert receiver.recv(100) == b"allowed now"


def test_nothing_passes_before_an_endpoint_is_known(host: Any) -> None:
    one, two = host.workloads
    host.apply(OPEN, host.endpoint(two, profiles=("open",)))
    with one.udp(one.v4, 53) as receiver, two.udp(two.v4, 40000) as sender:
        sender.sendto(b"too early", (one.v4, 53))
        host.apply(host.endpoint(one, profiles=("open",)))
        sender.sendto(b"known", (one.v4, 53))
        assert receiver.recv(100) == b"known"


def test_replies_come_back_though_policy_would_not_let_them_in(host: Any) -> None:
    one, two = host.workloads
    host.apply(OPEN, web_policy(allow_port(53)), host.endpoint(one, tiers=(TIER,), profiles=("open",)))
    closed = ResourceKey("NetworkPolicy", "default", "closed")
    none_in = TierPolicies(name="default", default_action="deny", ingress=(closed,))
    host.apply(PolicyUpdate(key=closed, tier="default", ingress=(), egress=()))
    host.apply(host.endpoint(two, tiers=(none_in,), profiles=("open",)))
    with one.udp(one.v4, 53) as server, two.udp(two.v4, 40000) as client:
        client.sendto(b"question", (one.v4, 53))
        _, asker = server.recvfrom(100)
        server.sendto(b"answer", asker)
        assert client.recv(100) == b"answer"


def test_many_tiers_of_which_all_pass_stay_within_the_kernels_jump_depth(host: Any) -> None:
    one, two = host.workloads
    keys = [ResourceKey("GlobalNetworkPolicy", "", f"t{number}") for number in range(30)]
    passes = (ActiveRule(action="pass"),)
    tiers = tuple(TierPolicies(name=key.name, default_action="deny", ingress=(key,)) for key in keys)
    for key in keys:
        host.apply(PolicyUpdate(key=key, tier=key.name, ingress=passes, egress=()))
    host.apply(OPEN, host.endpoint(one, tiers=tiers, profiles=("open",)), host.endpoint(two, profiles=("open",)))
    with one.udp(one.v4, 53) as receiver, two.udp(two.v4, 40000) as sender:
        sender.sendto(b"through thirty tiers", (one.v4, 53))
        assert receiver.recv(100) == b"through thirty tiers"


EVERYTHING = (
    ActiveRule(action="log", protocol=17, dst=RuleSide(ports=((53, 53), (67, 68)))),
    ActiveRule(action="deny", src=RuleSide(nets=(net("10.0.0.0/8"),)), dst=RuleSide(not_nets=(net("10.1.2.0/23"),))),
    ActiveRule(action="allow", src=RuleSide(nets=(net("fd00::/64"), net("10.2.0.0/16"), net("192.168.0.0/16")))),
    ActiveRule(action="pass", protocol=1, icmp=(8, 0)),
    ActiveRule(action="allow", ip_version=6, not_icmp=(128, 1), comment='a "quoted" \\ comment'),
    ActiveRule(action="allow", protocol=132, dst=RuleSide(not_ports=((1, 65000),), not_named_ports=("http",))),
    ActiveRule(action="allow", dst=RuleSide(named_ports=("http",), ip_sets=("all(app)",), not_ip_sets=("has(x)",))),
    ActiveRule(action="allow", not_protocol=6, dst=RuleSide(ports=((80, 90), (2000, 9000), (100, 100)))),
)


def load_everything(host: Any) -> None:
    host.apply(
        IPSetUpdate(id="all(app)", kind="nets", members=frozenset({net("10.65.0.1/32"), net("fd00:65::1/128")})),
        IPSetUpdate(id="has(x)", kind="nets", members=frozenset(map(net, ("0.0.0.0/0", "10.0.0.0/8", "fd00::/32")))),
        IPSetUpdate(id="http", kind="ports", members=frozenset({addr_port(addr_bytes("10.65.0.1"), 6, 80)})),
        web_policy(*EVERYTHING),
        OPEN,
        host.endpoint(host.workloads[0], tiers=(TIER,), profiles=("open",)),
    )


def test_a_listing_reads_like_rules_that_a_person_wrote(host: Any) -> None:
    load_everything(host)
    listing = host.nft("list", "table", "inet", "calico")
    for line in (
        'udp dport @cp-8d502470b85954a26f388bd7 log prefix "calico-packet: "',
        'ip saddr 10.0.0.0/8 ip daddr != 10.1.2.0/23 counter name "drop-policy-deny" drop',
        'drop comment "NetworkPolicy default/web ingress rule 1"',
        'ip6 saddr fd00::/64 accept comment "NetworkPolicy default/web ingress rule 2"',
        "meta mark set meta mark | 0x00010000 return",
        'rule 4: a ?quoted? ? comment"',
        "sctp dport != 1-65000 accept",
        "th dport 2000-9000 accept",
        'iifname vmap @wl-from comment "egress policy of the workload"',
        'iifname "cali*" counter name "drop-unknown-interface" drop comment "unknown workload interface"',
        '"cali1" . 10.65.0.1',
        "10.65.0.1 . tcp . 80",
    ):
        assert line in listing, line
    assert "@nh" not in listing
    raw = [line for line in listing.splitlines() if "@th" in line]  # no word for a quoted packet, nor for a first chunk
    assert all("ICMP error about others" in line or "SCTP of a flow that was ended" in line for line in raw), raw


def test_what_was_written_reads_back_as_what_was_wanted(host: Any) -> None:
    load_everything(host)
    host.dataplane.resync()
    again = host.dataplane.apply()
    assert (again.changed, again.messages, again.failed) == (False, 0, ())


def test_adding_an_endpoint_with_a_known_policy_list_only_adds_elements(host: Any) -> None:
    one, two = host.workloads
    host.apply(OPEN, host.endpoint(one, profiles=("open",)))
    host.ruleset.on_message(host.endpoint(two, profiles=("open",), nets=(net(two.v4),)))
    assert host.dataplane.apply().messages == 4


def test_rejected_traffic_is_answered_and_every_option_loads(host: Any) -> None:
    one, two = host.workloads
    host.use(
        RulesConfig(
            deny="reject",
            openstack=True,
            metadata_v4=addr_bytes("169.254.169.254"),
            interface_prefixes=("tap", "cali"),
            endpoint_to_host="accept",
        )
    )
    host.apply(OPEN, host.endpoint(one), host.endpoint(two, profiles=("open",)))
    for family in ("v4", "v6"):
        with two.udp(getattr(two, family), 40000) as sender:
            sender.connect((getattr(one, family), 53))
            sender.send(b"anybody there?")
            with pytest.raises(ConnectionRefusedError):
                sender.recv(100)
