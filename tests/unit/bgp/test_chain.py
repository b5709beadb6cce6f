"""The way of a prefix from host to host, of facts that no cluster of a test has at once."""

from __future__ import annotations

from collections.abc import Sequence

from calico.bgp.bird.control import BirdStatus, Session
from calico.bgp.bird.routes import KnownRoute
from calico.bgp.explain.chain import Link, Speaker, chain, verdict_of
from calico.bgp.explain.inquiry import Facts, KernelEntry, Offer
from calico.bgp.explain.owners import Owner

NET = "10.65.1.1/32"
ADDRESSES = {"a": "10.0.0.1", "b": "10.0.0.2", "r": "10.0.0.3", "s": "10.0.0.4", "tor": "10.0.0.9"}
OWNER = (Owner("a", "WorkloadEndpoint default/web of a has it"),)


def _session(peer: str, state: str = "Established", remote_as: int = 64512, info: str = "") -> Session:
    address = ADDRESSES[peer]
    name = f"Mesh_{address.replace('.', '_')}"
    return Session(
        name=name,
        state=state,
        since="t",
        info=info,
        peer_ip=address,
        remote_as=remote_as,
        local_as=64512,
        families=(4,),
    )


def _route(protocol: str, net: str = NET, hop: str = "dev cali1") -> KnownRoute:
    return KnownRoute(net=net, kind="unicast", protocol=protocol, since="t", preferred=True, hops=(hop,))


def _facts(
    *routes: KnownRoute,
    offers: Sequence[Offer] = (),
    sessions: Sequence[Session] = (),
    kernel: Sequence[KernelEntry] = (),
) -> Facts:
    return Facts(
        prefix=NET,
        net=routes[0].net if routes else "",
        bird=BirdStatus(),
        sessions=tuple(sessions),
        routes=routes,
        offers=tuple(offers),
        kernel=tuple(kernel),
    )


def _at_origin(*offers: Offer) -> Facts:
    return _facts(_route("kernel4"), offers=offers, kernel=[KernelEntry(protocol=80, hops=("dev cali1",))])


def _at_target(protocol: str = "Mesh_10_0_0_1", *sessions: Session) -> Facts:
    hop = "via 10.0.0.1 on eth0"
    return _facts(_route(protocol, hop=hop), sessions=sessions, kernel=[KernelEntry(protocol=12, hops=(hop,))])


def _speaker(name: str, facts: Facts | None, *, reflector: bool = False, error: str = "") -> Speaker:
    return Speaker(name=name, addresses=(ADDRESSES[name],), reflector=reflector, facts=facts, error=error)


def _links(*speakers: Speaker, owners: Sequence[Owner] = OWNER) -> tuple[Link, ...]:
    return chain("b", owners, {speaker.name: speaker for speaker in speakers})


def _steps(links: Sequence[Link]) -> list[tuple[str, str, bool | None]]:
    return [(link.host, link.stage, link.holds) for link in links]


def test_where_no_session_joins_two_hosts_that_is_the_reason() -> None:
    links = _links(_speaker("a", _at_origin()), _speaker("b", _facts()))
    verdict = verdict_of(links, "b")
    assert not verdict.there
    assert verdict.reason.startswith("a: no session leads to b: neither the mesh, nor a reflector, nor a BGPPeer")


def test_what_a_router_of_another_system_passes_on_is_not_looked_into() -> None:
    tor = _session("tor", remote_as=65001)
    links = _links(
        _speaker("a", _at_origin(Offer(session=tor, verdict="told"))), _speaker("b", _at_target("Node_tor", tor))
    )
    (told,) = [link for link in links if link.stage == "told"]
    assert told.text.endswith("(10.0.0.9, AS 65001): is told; what a router of another system passes on cannot be seen")
    assert verdict_of(links, "b").there


def test_a_reflector_that_withholds_or_lacks_a_session_or_is_silent_is_the_reason() -> None:
    origin = _speaker("a", _at_origin(Offer(session=_session("r"), verdict="told")))
    target = _speaker("b", _facts())
    passing = _route("Mesh_10_0_0_1", hop="via 10.0.0.1 on eth0")
    from_a = _session("a")
    for facts, word in (
        (
            _facts(passing, sessions=[from_a], offers=[Offer(session=_session("b"), verdict="withheld")]),
            "r: Mesh_10_0_0_2 (10.0.0.2, AS 64512): BGP does not pass it on to it",
        ),
        (_facts(passing, sessions=[from_a]), "r: it has no session with b"),
        (None, "r: silent"),
    ):
        links = _links(origin, _speaker("r", facts, reflector=True, error="silent"), target)
        assert verdict_of(links, "b").reason == word


def test_one_of_two_reflectors_is_enough() -> None:
    offers = [Offer(session=_session("r"), verdict="down"), Offer(session=_session("s"), verdict="told")]
    passing = _facts(
        _route("Mesh_10_0_0_1", hop="via 10.0.0.1 on eth0"), offers=[Offer(session=_session("b"), verdict="told")]
    )
    links = _links(
        _speaker("a", _at_origin(*offers)),
        _speaker("r", None, reflector=True),
        _speaker("s", passing, reflector=True),
        _speaker("b", _at_target("Mesh_10_0_0_4")),
    )
    assert ("s", "told", True) in _steps(links)
    assert "r" not in [link.host for link in links]
    assert verdict_of(links, "b").there


def test_a_wider_route_such_as_a_default_is_not_the_one() -> None:
    default = _facts(
        _route("kernel4", net="0.0.0.0/0"), kernel=[KernelEntry(protocol=3, hops=("via 10.0.0.254 on eth0",))]
    )
    links = _links(
        _speaker("a", _at_origin(Offer(session=_session("b"), verdict="rejected", by="f"))), _speaker("b", default)
    )
    verdict = verdict_of(links, "b")
    assert not verdict.there
    assert verdict.reason == "a: Mesh_10_0_0_2 (10.0.0.2, AS 64512): BGPFilter f rejects it"
    assert ("b", "kernel", False) in _steps(links)


def test_both_ends_say_why_their_session_is_down() -> None:
    offer = Offer(session=_session("b", "Active", info="Socket: Connection refused"), verdict="down")
    target = _facts(sessions=[_session("a", "Idle", info="Received: Bad peer AS")])
    links = _links(_speaker("a", _at_origin(offer)), _speaker("b", target))
    texts = {(link.host, link.stage): link.text for link in links}
    assert "is down: Active since t, Socket: Connection refused" in texts["a", "told"]
    assert "is down: Idle since t, Received: Bad peer AS" in texts["b", "session"]


def test_a_block_without_the_workload_is_no_obstacle_and_a_learned_route_is_no_origin() -> None:
    block = _route("blocks4", net="10.65.1.0/26", hop="")
    block_facts = _facts(block, offers=[Offer(session=_session("b"), verdict="told")])
    links = _links(_speaker("a", block_facts), _speaker("b", _at_target()))
    assert ("a", "here", None) in _steps(links)
    assert ("a", "learned", True) in _steps(links)
    links = _links(_speaker("a", _facts(_route("Mesh_10_0_0_2"))), _speaker("b", _facts()))
    assert ("a", "learned", False) in _steps(links)


def test_an_owner_that_is_no_node_and_a_target_that_is_silent_are_said() -> None:
    links = _links(_speaker("b", None, error="silent"))
    assert [link.text for link in links[1:]] == ["there is no Node of this name", "silent"]
    assert not verdict_of(links, "b").there


def test_a_target_that_owns_the_prefix_only_has_to_have_it() -> None:
    links = chain("a", OWNER, {"a": _speaker("a", _at_origin())})
    assert _steps(links) == [("", "owner", True), ("a", "here", True), ("a", "kernel", True)]
