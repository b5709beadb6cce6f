"""Why a prefix is on a host or not, along the whole way from the host that has it: several hosts' facts as an answer.

The chain: whose it is, the kernel and BIRD there, its export filter, the session, a reflector between, the import
filter of the host in question, its kernel. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from calico.bgp.bird.control import Session
from calico.bgp.explain.inquiry import Facts, Offer
from calico.bgp.explain.owners import Owner
from calico.bgp.explain.why import (
    Step,
    here,
    in_kernel,
    is_own,
    learned,
    outcome,
    preferred,
    session_state,
    session_title,
)

__all__ = ["Link", "Speaker", "Verdict", "chain", "verdict_of"]

Stage = Literal["owner", "agent", "here", "learned", "told", "session", "preferred", "kernel"]


class Speaker(msgspec.Struct, frozen=True, kw_only=True):
    """A host as a BGP speaker. ``facts`` are what it answered; without them, ``error`` says why there are none."""

    name: str
    addresses: tuple[str, ...]
    reflector: bool = False
    facts: Facts | None = None
    error: str = ""


class Link(msgspec.Struct, frozen=True):
    """One step on one host (empty: the datastore). ``holds``: the route gets this far (None: it does not apply)."""

    host: str
    stage: Stage
    holds: bool | None
    text: str


class Verdict(msgspec.Struct, frozen=True):
    """Whether the host forwards by a route for the prefix, and if not, where the way ends."""

    there: bool
    reason: str


def chain(target: str, owners: Sequence[Owner], speakers: Mapping[str, Speaker]) -> tuple[Link, ...]:
    """The links from each owner to ``target``, which is one of ``speakers``, as the owners and reflectors are."""
    links: list[Link] = []
    for owner in owners:
        links.append(Link("", "owner", bool(owner.host), owner.text))
        if owner.host and owner.host != target:
            links += _from_origin(owner.host, speakers[target], speakers)
    mine = any(owner.host == target for owner in owners)
    origins = [owner.host for owner in owners if owner.host]
    links += _own(speakers[target]) if mine else _arrival(speakers[target], origins, speakers)
    return tuple(links)


def verdict_of(links: Iterable[Link], target: str) -> Verdict:
    """The last link says whether it is there; the first that does not hold says why not."""
    links = tuple(links)
    there = any(link.holds for link in links if (link.host, link.stage) == (target, "kernel"))
    broken = next((link for link in links if link.holds is False), None)
    if there or broken is None:
        return Verdict(there, "")
    return Verdict(False, f"{broken.host}: {broken.text}" if broken.host else broken.text)


def _from_origin(name: str, target: Speaker, speakers: Mapping[str, Speaker]) -> Iterable[Link]:
    """The route on the host that it has to come from, up to the sessions towards the target."""
    origin = speakers.get(name)
    if origin is None or origin.facts is None:
        yield Link(name, "agent", False, origin.error if origin is not None else "there is no Node of this name")
        return
    facts, best = origin.facts, origin.facts.preferred
    yield from _here(name, facts)
    if best is None or not is_own(best):
        known = "no route" if best is None else f"only what {best.protocol} told"
        yield Link(name, "learned", False, f"BIRD there has {known}")
        return
    yield Link(name, "learned", True, f"BIRD has {best.net} from {best.protocol}")
    direct = _towards(facts, [target])
    if direct:
        yield from _offers(name, facts, direct)
        return
    yield from _by_way_of_others(origin, facts, target, speakers)


def _here(name: str, facts: Facts) -> Iterable[Link]:
    """That no workload has an address of a block is no obstacle: the block is told all the same."""
    told_as_block = facts.preferred is not None and facts.preferred.protocol.startswith("blocks")
    for link in _links(name, here(facts)):
        yield msgspec.structs.replace(link, holds=None) if told_as_block and not link.holds else link


def _by_way_of_others(
    origin: Speaker, facts: Facts, target: Speaker, speakers: Mapping[str, Speaker]
) -> Iterable[Link]:
    reflectors = [speaker for speaker in speakers.values() if speaker.reflector and speaker.name != origin.name]
    offers = _towards(facts, reflectors)
    if offers:
        yield from _offers(origin.name, facts, offers)
        for reflector in reflectors:
            if any(offer.verdict == "told" for offer in _towards(facts, [reflector])):
                yield from _reflected(reflector, target)
        return
    strangers = [offer for offer in facts.offers if not offer.session.internal]
    for link in _offers(origin.name, facts, strangers):
        unseen = "; what a router of another system passes on cannot be seen" if link.holds else ""
        yield msgspec.structs.replace(link, text=link.text + unseen)
    if not strangers:
        text = f"no session leads to {target.name}: neither the mesh, nor a reflector, nor a BGPPeer joins them"
        yield Link(origin.name, "told", False, text)


def _reflected(reflector: Speaker, target: Speaker) -> Iterable[Link]:
    """What a reflector makes of the route."""
    if reflector.facts is None:
        yield Link(reflector.name, "agent", False, reflector.error)
        return
    facts = reflector.facts
    yield from _links(reflector.name, learned(facts))
    offers = _towards(facts, [target])
    yield from _offers(reflector.name, facts, offers)
    if not offers:
        yield Link(reflector.name, "told", False, f"it has no session with {target.name}")


def _arrival(target: Speaker, origins: Sequence[str], speakers: Mapping[str, Speaker]) -> Iterable[Link]:
    """What the target makes of what it is told."""
    if target.facts is None:
        yield Link(target.name, "agent", False, target.error)
        return
    facts = target.facts
    senders = [s for s in speakers.values() if s.name in origins or s.reflector]
    for session in facts.sessions:
        if not session.established and _is_with(session, senders):
            text = f"{session_title(session)} is down: {session_state(session, facts.agent)}"
            yield Link(target.name, "session", False, text)
    wider = _wider(facts, [speakers[name] for name in origins if name in speakers])
    if wider:
        yield Link(target.name, "learned", False, f"nobody tells it; there is only a wider route, {wider}")
        yield Link(target.name, "kernel", False, f"it follows {wider}")
        return
    steps = [step for step in learned(facts) if step.holds is not False or facts.routes or facts.rejected]
    yield from _links(target.name, steps)
    if not steps:
        yield Link(target.name, "learned", False, "no session that is up tells it")
    yield from _links(target.name, preferred(facts))
    yield from _links(target.name, in_kernel(facts))


def _own(target: Speaker) -> Iterable[Link]:
    """The target has to have it itself."""
    if target.facts is None:
        yield Link(target.name, "agent", False, target.error)
        return
    yield from _links(target.name, here(target.facts))
    yield from _links(target.name, in_kernel(target.facts))


def _wider(facts: Facts, origins: Iterable[Speaker]) -> str:
    """The target's route, when it is less exact than the one that each origin has: a default route, for example."""
    nets = [origin.facts.net for origin in origins if origin.facts is not None and origin.facts.net]
    if not nets or not facts.net:
        return ""
    exact = min(ipaddress.ip_network(net).prefixlen for net in nets)
    return facts.net if ipaddress.ip_network(facts.net).prefixlen < exact else ""


def _towards(facts: Facts, speakers: Iterable[Speaker]) -> list[Offer]:
    speakers = tuple(speakers)
    return [offer for offer in facts.offers if _is_with(offer.session, speakers)]


def _is_with(session: Session, speakers: Iterable[Speaker]) -> bool:
    return any(session.peer_ip in speaker.addresses for speaker in speakers)


def _offers(name: str, facts: Facts, offers: Iterable[Offer]) -> Iterable[Link]:
    best = facts.preferred
    if best is None:
        return
    for offer in offers:
        text = f"{session_title(offer.session)}: {outcome(offer, best, facts.agent)}"
        yield Link(name, "told", offer.verdict == "told", text)


def _links(name: str, steps: Iterable[Step]) -> Iterable[Link]:
    for step in steps:
        yield Link(name, step.stage, step.holds, step.text)
