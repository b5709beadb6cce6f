"""Any history of changes leaves the host where the specification says, by messages that are minimal and in order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from calico.calc.graph import Graph
from calico.calc.messages import InSync
from calico.calc.services import ServiceEndpoints, ServiceName
from calico.calc.settings import CalcSettings
from calico.calc.spec import DataplaneState, recompute
from calico.lib import packed
from calico.model.forwards import PORT_FORWARDS, PortForward, forwards_text
from calico.model.hostendpoint import HostEndpoint, HostEndpointPort, HostEndpointSpec
from calico.model.ippool import IPPool, IPPoolSpec
from calico.model.keys import ResourceKey
from calico.model.kubernetes.types import (
    LabelSelector,
    LabelSelectorRequirement,
    PolicyEgressRule,
    PolicyIngressRule,
    PolicyPeer,
    PolicyPort,
)
from calico.model.meta import Metadata, Resource
from calico.model.node import Node, NodeAddress, NodeBGPSpec, NodeSpec
from calico.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    GlobalNetworkSet,
    HTTPMatch,
    ICMPFields,
    NetworkPolicy,
    NetworkPolicySpec,
    NetworkSet,
    NetworkSetSpec,
    Profile,
    ProfileSpec,
    Rule,
    ServiceAccountMatch,
    ServiceMatch,
    Tier,
    TierSpec,
)
from calico.model.qos import QoSControls
from calico.model.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec,
    StagedKubernetesNetworkPolicy,
    StagedKubernetesNetworkPolicySpec,
    StagedNetworkPolicy,
    StagedNetworkPolicySpec,
)
from calico.model.workload import IPNAT, EndpointPort, WorkloadEndpoint, WorkloadEndpointSpec
from retained import retained

Change = tuple[ResourceKey, Resource | None]
ServiceChange = tuple[ServiceName, ServiceEndpoints | None]
FLUSH = None
SOURCE = "from now on somebody tells services"

HOST = "here"
NAMESPACES = ("red", "blue")
LABEL_NAMES = ("a", "a", "b", "pcns.a", "pcsa.a", "projectcalico.org/namespace", "projectcalico.org/serviceaccount")
VALUES = ("x", "x", "y", "red", "robot")
NETS = (
    "10.0.0.0/8",
    "10.0.0.0/30",
    "10.0.0.1/32",
    "10.0.0.2/32",
    "10.0.0.4/31",
    "10.0.0.5",
    "0.0.0.0/0",
    "fd00::/64",
    "fd00::1/128",
    "::/0",
)
NATS = (
    IPNAT(internal_ip="10.0.0.1", external_ip="192.0.2.1"),
    IPNAT(internal_ip="10.0.0.1", external_ip="192.0.2.2"),
    IPNAT(internal_ip="10.0.0.2", external_ip="192.0.2.1"),
    IPNAT(internal_ip="10.0.0.2", external_ip="10.0.0.1"),
    IPNAT(internal_ip="fd00::1", external_ip="2001:db8::1"),
    IPNAT(internal_ip="10.0.0.1", external_ip="127.0.0.1"),
    IPNAT(internal_ip="fd00::1", external_ip="192.0.2.1"),
)
ADDRESSES = ("10.0.0.1/32", "10.0.0.2/32", "10.0.0.5", "fd00::1/128", "fd00::2/128")
TIERS = ("default", "one", "two")
ORDERS = (None, 1.0, 2.0)
PROFILES = ("kns.red", "kns.blue", "other", "projectcalico-default-allow")
SELECTORS = (
    "",
    "all()",
    "has(a)",
    "a == 'x'",
    "a != 'x'",
    "a in {'x', 'y'} && b == 'y'",
    "has(b)",
    "!has(b)",
    "b not in {'x'} || a == 'y'",
    "projectcalico.org/namespace == 'red'",
    "!has(projectcalico.org/namespace)",
    "projectcalico.org/serviceaccount == 'robot'",
    "pcns.a == 'x'",
)
ODD_SELECTORS = ("a == 'x' && a == 'y'", "a == 'x') || (has(a)", "a ==", "global()")
ENTITY_NAMESPACES = ("", "all()", "a == 'x'", "global()")


def mostly(usual: Any, odd: Any) -> Any:
    """Values that are usually in order, so that a history also gets somewhere."""
    usual = usual if isinstance(usual, st.SearchStrategy) else st.just(usual)
    odd = odd if isinstance(odd, st.SearchStrategy) else st.just(odd)
    # Not st.one_of, which takes repeated strategies as one.
    return st.integers(0, 15).flatmap(lambda dice: odd if dice == 15 else usual)


labels = st.dictionaries(st.sampled_from(LABEL_NAMES), st.sampled_from(VALUES), max_size=2)
selectors = mostly(st.sampled_from(SELECTORS), st.sampled_from(ODD_SELECTORS))


def tuples(*options: Any, min_size: int = 0, max_size: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(options), min_size=min_size, max_size=max_size).map(tuple)


entities = st.builds(
    EntityRule,
    nets=mostly(tuples(*NETS), ("10.0.0.0/33",)),
    not_nets=tuples(*NETS, max_size=1),
    selector=st.one_of(st.just(""), selectors),
    not_selector=st.one_of(st.just(""), selectors),
    namespace_selector=mostly(st.sampled_from(ENTITY_NAMESPACES), "global() || has(a)"),
    ports=mostly(tuples(80, "80:90", "http", "dns"), (0,)),
    not_ports=tuples("http", 443, max_size=1),
    services=mostly(None, st.sampled_from((ServiceMatch(name="web", namespace="red"), ServiceMatch(name="web")))),
    service_accounts=mostly(None, ServiceAccountMatch(names=("robot",), selector="a == 'x'")),
)
simple_entities = st.builds(EntityRule, selector=selectors, ports=tuples("http", "dns", max_size=1))
simple_rules = st.builds(
    Rule,
    action=st.sampled_from(("Allow", "Deny")),
    protocol=st.sampled_from((None, "TCP", 17)),
    source=simple_entities,
    destination=simple_entities,
)
odd_rules = st.builds(
    Rule,
    action=mostly(st.sampled_from(("Allow", "Deny", "Log", "Pass")), "Perhaps"),
    ip_version=st.sampled_from((None, 4, 6)),
    protocol=mostly(st.sampled_from(("TCP", "UDP")), st.sampled_from(("ICMP", None))),
    not_protocol=st.sampled_from((None, 132)),
    icmp=mostly(None, ICMPFields(type=8)),
    http=mostly(None, HTTPMatch(methods=("GET",))),
    source=entities,
    destination=entities,
)
service_entities = st.builds(
    EntityRule,
    services=st.sampled_from((ServiceMatch(name="web", namespace="red"), ServiceMatch(name="dns", namespace="red"))),
)
service_rules = st.one_of(
    st.builds(Rule, action=st.sampled_from(("Allow", "Deny")), source=service_entities),
    st.builds(Rule, action=st.sampled_from(("Allow", "Deny")), destination=service_entities),
)
rules = st.lists(st.one_of(simple_rules, simple_rules, odd_rules, service_rules), max_size=2).map(tuple)


def policy_specs(cls: type[Any], **more: Any) -> st.SearchStrategy[Any]:
    return st.builds(
        cls,
        tier=st.sampled_from(("", *TIERS)),
        order=st.sampled_from(ORDERS),
        selector=selectors,
        types=mostly(st.sampled_from(((), ("Ingress",), ("Egress",), ("Ingress", "Egress"))), ("Sideways",)),
        ingress=rules,
        egress=rules,
        service_account_selector=mostly("", "a == 'x'"),
        performance_hints=mostly((), ("AssumeNeededOnEveryNode",)),
        **more,
    )


def keyed(kind: str, spec: Any, *, namespaced: bool = False, names: tuple[str, ...] = ("p", "q")) -> Any:
    """Changes of resources of a kind: few keys, values that are often absent."""
    cls = {
        "NetworkPolicy": NetworkPolicy,
        "GlobalNetworkPolicy": GlobalNetworkPolicy,
        "StagedNetworkPolicy": StagedNetworkPolicy,
        "StagedGlobalNetworkPolicy": StagedGlobalNetworkPolicy,
        "StagedKubernetesNetworkPolicy": StagedKubernetesNetworkPolicy,
        "NetworkSet": NetworkSet,
        "GlobalNetworkSet": GlobalNetworkSet,
        "Profile": Profile,
        "Tier": Tier,
        "IPPool": IPPool,
        "Node": Node,
    }[kind]

    @st.composite
    def change(draw: st.DrawFn) -> Change:
        key = ResourceKey(kind, draw(st.sampled_from(NAMESPACES)) if namespaced else "", draw(st.sampled_from(names)))
        if draw(st.integers(0, 3)) == 3:
            return key, None
        metadata = Metadata(name=key.name, namespace=key.namespace, labels=draw(labels))
        return key, cls(kind=kind, metadata=metadata, spec=draw(spec))

    return change()


LIMITS = st.one_of(
    st.none(),
    st.builds(
        QoSControls,
        ingress_bandwidth=st.sampled_from((0, 1000000, 999)),
        ingress_burst=st.sampled_from((0, 5000)),
        egress_packet_rate=st.sampled_from((0, 100, 10001)),
        dscp=st.sampled_from((None, 0, "ef", "nonsense")),
    ),
)
ANNOTATIONS = st.one_of(
    st.just({}),
    st.dictionaries(
        st.sampled_from(("qos.projectcalico.org/dscp", "qos.projectcalico.org/ingressBandwidth", "other")),
        st.sampled_from(("10", "1M", "fast")),
        max_size=2,
    ),
    st.lists(
        st.builds(
            PortForward,
            protocol=mostly(st.sampled_from(("tcp", "udp")), "icmp"),
            external_ip=st.sampled_from(("192.0.2.1", "10.0.0.1", "2001:db8::1", "127.0.0.1")),
            external_port=mostly(st.sampled_from((80, 81)), 0),
            internal_ip=st.sampled_from(("10.0.0.1", "10.0.0.2", "fd00::1")),
            internal_port=st.sampled_from((8080, 8081)),
        ),
        max_size=3,
    ).map(lambda forwards: {PORT_FORWARDS: forwards_text(forwards)}),
    st.just({PORT_FORWARDS: "nonsense"}),
)


@st.composite
def endpoint_changes(draw: st.DrawFn) -> Change:
    node, pod = draw(st.sampled_from(("here", "here", "there"))), draw(st.sampled_from(("p", "q")))
    namespace = draw(st.sampled_from(NAMESPACES))
    name = draw(mostly(f"{node}-k8s-{pod}-eth0", node))
    key = ResourceKey("WorkloadEndpoint", namespace, name)
    if draw(st.integers(0, 3)) == 3:
        return key, None
    spec = WorkloadEndpointSpec(
        orchestrator="k8s",
        node=draw(mostly(node, "here")),
        pod=pod,
        endpoint="eth0",
        service_account_name=draw(st.sampled_from(("", "robot"))),
        ip_networks=draw(mostly(tuples(*ADDRESSES, min_size=1), tuples("10.0.0.0/30", max_size=1))),
        ipv4_gateway=draw(mostly(st.sampled_from(("", "169.254.1.1")), "fd00::1")),
        profiles=draw(tuples(*PROFILES, max_size=3)),
        interface_name=draw(mostly(f"cali{pod}{namespace}", "cali1")),
        mac=draw(st.sampled_from(("", "ee:ee:ee:ee:ee:ee"))),
        ports=draw(
            tuples(
                EndpointPort(name="http", protocol="TCP", port=80),
                EndpointPort(name="http", protocol="UDP", port=81),
                EndpointPort(name="dns", protocol=17, port=53),
                EndpointPort(protocol="TCP", port=80, host_port=8080),
            )
        ),
        allow_spoofed_source_prefixes=draw(mostly((), ("10.1.0.0/16",))),
        qos_controls=draw(LIMITS),
        ip_nats=draw(tuples(*NATS, max_size=3)),
    )
    metadata = Metadata(name=name, namespace=namespace, labels=draw(labels), annotations=draw(ANNOTATIONS))
    return key, WorkloadEndpoint(metadata=metadata, spec=spec)


@st.composite
def host_endpoint_changes(draw: st.DrawFn) -> Change:
    name = draw(st.sampled_from(("eth0", "eth1")))
    key = ResourceKey("HostEndpoint", "", name)
    if draw(st.integers(0, 3)) == 3:
        return key, None
    spec = HostEndpointSpec(
        node=draw(mostly(st.sampled_from(("here", "here", "there")), "")),
        interface_name=draw(mostly(st.sampled_from((name, "*", "")), "no interface")),
        expected_ips=draw(mostly(tuples("10.0.0.1", "10.0.0.9", "fd00::1"), ("10.0.0.0/8",))),
        profiles=draw(tuples(*PROFILES, max_size=3)),
        ports=draw(
            mostly(
                tuples(
                    HostEndpointPort(name="http", protocol="TCP", port=80),
                    HostEndpointPort(name="dns", protocol=17, port=53),
                ),
                (HostEndpointPort(name="http", port=80),),
            )
        ),
    )
    return key, HostEndpoint(metadata=Metadata(name=name, labels=draw(labels)), spec=spec)


NETSET_SPECS = st.builds(NetworkSetSpec, nets=mostly(tuples(*NETS, max_size=4), ("nonsense", "10.0.0.0/8")))
STAGED = mostly(st.sampled_from(("", "Set")), st.sampled_from(("Delete", "Learn", "Ignore", "Perhaps")))
pod_selectors = st.builds(
    LabelSelector,
    match_labels=st.dictionaries(st.sampled_from(("a", "b")), st.sampled_from(VALUES), max_size=1),
    match_expressions=mostly((), (LabelSelectorRequirement(key="a", operator="Near"),)),
)
peers = st.one_of(
    st.builds(PolicyPeer, pod_selector=pod_selectors),
    st.builds(PolicyPeer, namespace_selector=pod_selectors),
    st.just(PolicyPeer()),
)
k8s_ports = st.lists(st.builds(PolicyPort, port=mostly(st.sampled_from((80, "http", None)), 99999)), max_size=2)
KUBERNETES_SPECS = st.builds(
    StagedKubernetesNetworkPolicySpec,
    staged_action=STAGED,
    pod_selector=pod_selectors,
    ingress=st.lists(
        st.builds(PolicyIngressRule, ports=k8s_ports.map(tuple), from_=st.lists(peers, max_size=2).map(tuple)),
        max_size=2,
    ).map(tuple),
    egress=st.lists(st.builds(PolicyEgressRule, to=st.lists(peers, max_size=2).map(tuple)), max_size=1).map(tuple),
    policy_types=st.sampled_from(((), (), ("Egress",))),
)
SERVICES = st.builds(
    ServiceEndpoints,
    addresses=tuples(*ADDRESSES).map(lambda texts: frozenset(map(packed.net, texts))),
    ports=tuples("10.0.0.1", "10.0.0.2", "fd00::1").map(
        lambda texts: frozenset(packed.addr_port(packed.addr_bytes(text), 6, 80) for text in texts)
    ),
)
service_changes: st.SearchStrategy[ServiceChange] = st.tuples(
    st.sampled_from((("red", "web"), ("red", "dns"))), st.one_of(st.none(), SERVICES, SERVICES)
)
POOL_SPECS = st.builds(IPPoolSpec, cidr=mostly(st.sampled_from(NETS), "10.0.0.0/33"), nat_outgoing=st.booleans())
NODE_SPECS = st.builds(
    NodeSpec,
    bgp=st.one_of(
        st.none(),
        st.builds(
            NodeBGPSpec,
            ipv4_address=mostly(st.sampled_from(("", "192.0.2.1/24", "192.0.2.9")), "fd00::1"),
            ipv6_address=mostly(st.sampled_from(("", "2001:db8::1/64")), "2001:db8::1/129"),
        ),
    ),
    addresses=tuples(
        NodeAddress(address="192.0.2.1"), NodeAddress(address="192.0.2.9/32"), NodeAddress(address="2001:db8::9")
    ),
)
SETTINGS = st.builds(
    CalcSettings, floating_ips=st.booleans(), nat_excludes_hosts=st.booleans(), source_spoofing=st.booleans()
)
CHANGES = st.one_of(
    service_changes,
    keyed("StagedNetworkPolicy", policy_specs(StagedNetworkPolicySpec, staged_action=STAGED), namespaced=True),
    keyed(
        "StagedGlobalNetworkPolicy",
        policy_specs(
            StagedGlobalNetworkPolicySpec,
            staged_action=STAGED,
            namespace_selector=st.sampled_from(("", "", "all()", "a == 'x'")),
            do_not_track=mostly(False, True),
            pre_dnat=mostly(False, True),
            apply_on_forward=st.booleans(),
        ),
        names=("p", "r"),
    ),
    keyed("StagedKubernetesNetworkPolicy", KUBERNETES_SPECS, namespaced=True),
    endpoint_changes(),
    endpoint_changes(),
    endpoint_changes(),
    host_endpoint_changes(),
    host_endpoint_changes(),
    keyed("NetworkSet", NETSET_SPECS, namespaced=True),
    keyed("GlobalNetworkSet", NETSET_SPECS),
    keyed("Profile", st.builds(ProfileSpec, ingress=rules, egress=rules, labels_to_apply=labels), names=PROFILES),
    keyed(
        "Tier",
        st.builds(
            TierSpec, order=st.sampled_from(ORDERS), default_action=st.sampled_from((None, "Deny", "Pass", "Allow"))
        ),
        names=TIERS,
    ),
    keyed("NetworkPolicy", policy_specs(NetworkPolicySpec), namespaced=True),
    keyed(
        "GlobalNetworkPolicy",
        policy_specs(
            GlobalNetworkPolicySpec,
            namespace_selector=st.sampled_from(("", "", "", "all()", "a == 'x'")),
            do_not_track=st.sampled_from((False, False, True)),
            pre_dnat=st.sampled_from((False, False, True)),
            apply_on_forward=st.sampled_from((True, True, False)),
        ),
        names=("p", "r", "s"),
    ),
    keyed("IPPool", POOL_SPECS),
    keyed("Node", NODE_SPECS),
)
STEPS = st.one_of(CHANGES, CHANGES, CHANGES, st.just(FLUSH), mostly(st.just(FLUSH), SOURCE))
HISTORIES = st.lists(STEPS, min_size=5, max_size=40)


class World:
    """A graph and what it was given."""

    def __init__(self, settings: CalcSettings | None = None) -> None:
        self.settings = settings
        self.graph = Graph(HOST, settings)
        self.resources: dict[ResourceKey, Resource] = {}
        self.services: dict[ServiceName, ServiceEndpoints] = {}
        self.tells_services = False

    def give(self, change: Any) -> None:
        if change == SOURCE:
            self.graph.on_service_source()
            self.tells_services = True
            for name, service in self.services.items():
                self.graph.on_service(*name, service)
            return
        key, value = change
        book: dict[Any, Any] = self.resources
        if isinstance(key, ResourceKey):
            self.graph.on_resource(key, value)
        else:
            book = self.services
            if self.tells_services:
                self.graph.on_service(*key, value)
        if value is None:
            book.pop(key, None)
        else:
            book[key] = value

    def recompute(self) -> DataplaneState:
        services = self.services if self.tells_services else None
        return recompute(HOST, self.resources, services, self.settings)


def _scene() -> list[Change]:
    """A host where something is at work already, so that also short histories take something away."""
    changes: list[Change] = []
    for pod, address in (("p", "10.0.0.1/32"), ("q", "10.0.0.2/32")):
        key = ResourceKey("WorkloadEndpoint", "red", f"here-k8s-{pod}-eth0")
        spec = WorkloadEndpointSpec(
            orchestrator="k8s",
            node="here",
            pod=pod,
            endpoint="eth0",
            ip_networks=(address,),
            ip_nats=(IPNAT(internal_ip=address.removesuffix("/32"), external_ip="192.0.2.1"),),
            profiles=("kns.red",),
            interface_name=f"cali{pod}red",
        )
        changes.append((key, WorkloadEndpoint(metadata=Metadata(labels={"a": "x"}), spec=spec)))
    host_spec = HostEndpointSpec(
        node="here", interface_name="eth0", expected_ips=("10.0.0.9",), profiles=("kns.red", "other")
    )
    host = HostEndpoint(metadata=Metadata(labels={"a": "x"}), spec=host_spec)
    changes.append((ResourceKey("HostEndpoint", "", "eth0"), host))
    lent = {"projectcalico.org/namespace": "red", "b": "y"}
    changes.append((ResourceKey("Profile", "", "other"), Profile(spec=ProfileSpec(labels_to_apply=lent))))
    changes.append((ResourceKey("NetworkPolicy", "red", "p"), NetworkPolicy(spec=NetworkPolicySpec(selector="all()"))))
    rule = Rule(action="Allow", source=EntityRule(selector="a == 'x'"))
    for name, tier in (("p", "one"), ("r", "two")):
        policy = GlobalNetworkPolicySpec(tier=tier, selector="has(a)", ingress=(rule,), apply_on_forward=name == "r")
        changes.append((ResourceKey("GlobalNetworkPolicy", "", name), GlobalNetworkPolicy(spec=policy)))
        changes.append((ResourceKey("Tier", "", tier), Tier(spec=TierSpec(order=1.0))))
    before_dnat = GlobalNetworkPolicySpec(
        selector="has(a)", types=("Ingress",), ingress=(rule,), pre_dnat=True, apply_on_forward=True
    )
    changes.append((ResourceKey("GlobalNetworkPolicy", "", "s"), GlobalNetworkPolicy(spec=before_dnat)))
    pool = IPPool(spec=IPPoolSpec(cidr="10.0.0.0/8", nat_outgoing=True))
    changes.append((ResourceKey("IPPool", "", "p"), pool))
    return changes


@settings(max_examples=200, deadline=None)
@given(scene=st.booleans(), before=HISTORIES, after=HISTORIES, calc_settings=SETTINGS)
def test_any_history_leaves_the_dataplane_at_the_recomputed_state(
    scene: bool, before: list[Any], after: list[Any], calc_settings: CalcSettings
) -> None:
    world, host = World(calc_settings), DataplaneState()
    for change in [*before, *_scene()] if scene else before:
        if change is FLUSH:
            assert world.graph.flush() == []
            continue
        world.give(change)
    world.graph.on_in_sync()
    for change in (FLUSH, *after, FLUSH):
        if change is not FLUSH:
            world.give(change)
            continue
        host.replay(world.graph.flush())
        assert host == world.recompute()
        assert world.graph.flush() == []


@settings(max_examples=60, deadline=None)
@given(history=HISTORIES, calc_settings=SETTINGS)
def test_repeating_every_resource_and_deleting_what_never_was_says_nothing(
    history: list[Any], calc_settings: CalcSettings
) -> None:
    world = World(calc_settings)
    for change in history:
        if change is not FLUSH:
            world.give(change)
    world.graph.on_in_sync()
    assert world.graph.flush()[-1] == InSync()
    for key, value in world.resources.items():
        world.graph.on_resource(key, value)
        world.graph.on_resource(ResourceKey(key.kind, key.namespace, f"never-{key.name}"), None)
    if world.tells_services:
        world.give(SOURCE)
        world.graph.on_service("red", "never", None)
    assert world.graph.flush() == []


@settings(max_examples=60, deadline=None)
@given(history=HISTORIES, calc_settings=SETTINGS)
def test_when_everything_is_deleted_nothing_is_left_behind(history: list[Any], calc_settings: CalcSettings) -> None:
    world, host = World(calc_settings), DataplaneState()
    for change in history:
        if change is not FLUSH:
            world.give(change)
    world.graph.on_in_sync()
    host.replay(world.graph.flush())
    for key in [*world.resources, *world.services]:
        world.give((key, None))
    host.replay(world.graph.flush())
    assert host == DataplaneState(in_sync=True)
    fresh = World(calc_settings)
    if world.tells_services:
        fresh.give(SOURCE)
    fresh.graph.on_in_sync()
    fresh.graph.flush()
    assert retained(world.graph) == retained(fresh.graph)
