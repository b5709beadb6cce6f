"""Reflectors that take from their clients only what is theirs."""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from calico.bgp.birdconf.admission import admission_function, admission_name
from calico.bgp.birdconf.difference import Effect, compare
from calico.bgp.birdconf.render import render
from calico.bgp.planning.birdplan import AdmissionPlan, BlockPlan
from calico.bgp.planning.ownership import Owned
from calico.bgp.planning.plan import Planned, build_plan
from calico.bgp.planning.reference import admitted
from calico.bgp.planning.snapshot import SnapshotStore
from calico.errors import InvalidInput

ONLY = {"bgp.calico-network/own-routes-only": "true"}
LOG = "/dev/null"
B = Owned(blocks=("10.65.2.0/26", "fd65::200/122"), borrowed=("10.65.1.5/32",), lent=("10.65.2.9/32",))


def plan(world: Any, node: str, owned: Mapping[str, Owned]) -> Planned:
    store = SnapshotStore(node)
    store.apply(world.updates)
    return build_plan(msgspec.structs.replace(store.view(), owned=owned), node)


def text(world: Any, owned: Mapping[str, Owned]) -> str:
    return render(plan(world, "r1", owned).plan, LOG)


@pytest.fixture
def cluster(world: Any) -> Any:
    """Two reflectors with two clients, and a router of the same system that is no node."""
    world.node("r1", "10.0.0.1", "fd00::1", routeReflectorClusterID="224.0.0.1", labels={"rr": "yes"})
    world.node("r2", "10.0.0.2", "fd00::2", routeReflectorClusterID="224.0.0.2", labels={"rr": "yes"})
    world.node("b", "10.0.0.3", "fd00::3").node("c", "10.0.0.4", "fd00::4").pool("v4", "10.65.0.0/16")
    world.peer("rr", nodeSelector="all()", peerSelector="rr == 'yes'")
    world.peer("router", node="r1", peerIP="10.0.0.9", asNumber=64512)
    return world.config(annotations=ONLY, nodeToNodeMeshEnabled=False)


def restricted(planned: Planned) -> set[str]:
    return {peer.name for peer in planned.plan.peers if peer.admission is not None}


def test_only_sessions_of_a_reflector_with_clients_are_restricted(cluster: Any) -> None:
    planned = plan(cluster, "r1", {})
    assert restricted(planned) == {"Node_10_0_0_3", "Node_10_0_0_4", "Node_fd00__3", "Node_fd00__4"}
    assert planned.needs_owners
    assert {"Node_10_0_0_2", "Global_10_0_0_9", "Node_10_0_0_9"} & {peer.name for peer in planned.plan.peers}


def test_other_hosts_need_not_know_whose_addresses_are(cluster: Any) -> None:
    planned = plan(cluster, "b", {"b": B})
    assert planned.plan.peers
    assert not restricted(planned)
    assert not planned.needs_owners


def test_it_is_off_unless_asked_for(cluster: Any) -> None:
    cluster.config(nodeToNodeMeshEnabled=False)
    planned = plan(cluster, "r1", {"b": B})
    assert planned.plan.peers
    assert not restricted(planned)
    assert not planned.needs_owners


def test_a_value_that_cannot_be_read_protects_and_is_named(cluster: Any) -> None:
    cluster.config(annotations={"bgp.calico-network/own-routes-only": "yes"}, nodeToNodeMeshEnabled=False)
    planned = plan(cluster, "r1", {})
    assert restricted(planned)
    [problem] = planned.problems
    assert problem.object == "BGPConfiguration default"
    assert (
        "metadata.annotations[bgp.calico-network/own-routes-only]: 'yes' is neither true nor false" in problem.message
    )


def test_in_the_meshs_place_clients_are_restricted_too(cluster: Any) -> None:
    cluster.peer("rr", {"bgp.calico-network/instead-of-mesh": "true"}, nodeSelector="all()", peerSelector="rr == 'yes'")
    for mesh in (True, False):
        cluster.config(annotations=ONLY, nodeToNodeMeshEnabled=mesh)
        assert restricted(plan(cluster, "r1", {})) == {
            "Mesh_10_0_0_3", "Mesh_10_0_0_4", "Mesh_fd00__3", "Mesh_fd00__4",
        }  # fmt: skip


def test_a_client_may_tell_its_blocks_what_it_borrowed_its_tunnels_and_services(cluster: Any) -> None:
    spec = {"bgp": {"ipv4Address": "10.0.0.3/24", "ipv4IPIPTunnelAddr": "10.65.7.7"}, "ipv6VXLANTunnelAddr": "x%y"}
    cluster.put("nodes", "b", spec).config(
        annotations=ONLY, nodeToNodeMeshEnabled=False, serviceClusterIPs=[{"cidr": "10.96.0.0/12"}]
    )
    sessions = {peer.name: peer.admission for peer in plan(cluster, "r1", {"b": B}).plan.peers}
    own, other = sessions["Node_10_0_0_3"], sessions["Node_10_0_0_4"]
    assert own is not None
    assert other is not None
    for net in ("10.65.2.0/26", "10.65.2.8/32", "10.65.1.5/32", "10.65.7.7/32", "fd65::200/122", "fd65::201/128"):
        assert admitted(own, net), net
        assert not admitted(other, net), net
    for net in ("10.96.0.0/12", "10.96.0.1/32"):
        assert admitted(own, net)
        assert admitted(other, net)
    foreign = ("10.65.2.9/32", "10.65.1.0/26", "10.65.1.6/32", "10.65.2.0/27", "10.65.0.0/16", "0.0.0.0/0", "::/0")
    for net in (*foreign, "10.96.0.0/13"):
        assert not admitted(own, net), net


def test_bird_accepts_the_text_and_restricts_before_any_filter(
    cluster: Any, bird_refusal: Callable[[str], str]
) -> None:
    cluster.filter("all", importV4=[{"action": "Accept"}], importV6=[{"action": "Accept"}])
    cluster.peer("rr", nodeSelector="all()", peerSelector="rr == 'yes'", filters=["all"])
    found = text(cluster, {"b": B})
    assert "import filter { admit4_Node_10_0_0_3(); 'bgp_all_importFilterV4'(true); prefer4(); accept; };" in found
    assert bird_refusal(found) == ""


def test_a_change_of_one_client_asks_nothing_of_it_and_touches_no_other(cluster: Any) -> None:
    """A client need not be able, or willing, to send its routes again: none keeps what it may tell no longer."""
    old = text(cluster, {"b": B})
    new = text(cluster, {"b": msgspec.structs.replace(B, borrowed=())})
    difference = compare(old, new)
    assert difference.effect is Effect.SOFT
    assert difference.refiltered == frozenset()
    assert not difference.resets_session("Node_10_0_0_3", refreshes=False)
    changed = [line for line, was in zip(new.splitlines(), old.splitlines(), strict=True) if line != was]
    assert len(changed) == 1
    assert "10.65.2.0/26" in changed[0]


def test_switched_on_or_off_the_clients_sessions_are_begun_anew(cluster: Any) -> None:
    on = text(cluster, {"b": B})
    off = text(cluster.config(nodeToNodeMeshEnabled=False), {"b": B})
    for difference in (compare(off, on), compare(on, off)):
        assert difference.effect is Effect.RESET
        assert difference.resets == {"Node_10_0_0_3", "Node_10_0_0_4", "Node_fd00__3", "Node_fd00__4"}


def test_a_name_too_long_for_bird_is_refused() -> None:
    longest = "Node_" + "_".join(["fd65"] * 8) + "_port_65535"
    assert len(admission_name(longest, 6)) <= 64
    with pytest.raises(InvalidInput):
        admission_name("Node_" + "1" * 59, 4)


def _takes(function: str, net: str) -> bool:
    """What the text says, by the meaning of BIRD's prefix sets."""
    network = ipaddress.ip_network(net)
    for line in function.splitlines()[1:-1]:
        found = re.fullmatch(r"  (?:if (! \()?net ~ \[ (.*) \]\)? then )?reject;", line)
        assert found is not None, line
        if found[2] is None:
            return False
        patterns = [
            re.fullmatch(r"(.+?)(?:\{(\d+),(\d+)\})?", item) for item in re.split(r", (?=[0-9a-f:]+[.:])", found[2])
        ]
        inside = False
        for pattern in patterns:
            assert pattern is not None
            outer = ipaddress.ip_network(pattern[1])
            low, high = (int(pattern[2]), int(pattern[3])) if pattern[2] else (outer.prefixlen, outer.prefixlen)
            assert outer.version == network.version
            inside |= network.subnet_of(outer) and low <= network.prefixlen <= high  # type: ignore[arg-type]
        if inside != bool(found[1]):
            return False
    return True


@pytest.mark.parametrize("seed", range(60))
def test_the_text_takes_what_the_specification_admits(seed: int, bird_refusal: Callable[[str], str]) -> None:
    draw = random.Random(seed)

    def some(family: int, count: int, lengths: tuple[int, ...]) -> set[BlockPlan]:
        made = set()
        for _ in range(draw.randint(0, count)):
            base, bits = ("10.65.0.0", 32) if family == 4 else ("fd65::", 128)
            length = bits - draw.choice(lengths)
            number = int(ipaddress.ip_address(base)) + draw.randrange(1 << 9)
            network = ipaddress.ip_network((number >> (bits - length) << (bits - length), length))
            made.add(BlockPlan(6 if family == 6 else 4, str(network)))
        return made

    networks = some(4, 6, (0, 3, 6)) | some(6, 6, (0, 3, 6))
    refused = some(4, 3, (0,)) | some(6, 3, (0,))
    plan = AdmissionPlan(tuple(sorted(networks)), tuple(sorted(refused)))
    for family in (4, 6):
        function = admission_function(f"Node_{seed}", plan, 6 if family == 6 else 4)
        told = {
            item.cidr for item in some(family, 60, (0, 0, 3, 4, 6, 9)) | networks | refused if item.family == family
        }
        for net in told:
            assert _takes(function, net) == admitted(plan, net), (net, function)
        if seed < 5:
            assert bird_refusal(f"router id 10.0.0.1;\nprotocol device {{ }}\n{function}") == ""
