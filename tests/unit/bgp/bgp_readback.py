"""A configuration read back by a tokenizer of its own, and compared with the plan it was made of."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator
from itertools import pairwise

from calico.bgp.planning.birdplan import BirdPlan

__all__ = ["LOG", "altered"]

LOG = "/run/calico/bird.log"

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*) | (?P<string>"[^"\n]*") | (?P<symbol>'[^'\n]*') | (?P<open>\{) | (?P<close>\})
      | (?P<end>;) | (?P<word>[^\s{};"'\#]+) | (?P<space>\s+)""",
    re.VERBOSE,
)


class Statement:
    """A statement at the top level: its words, strings and symbols, and those within its braces."""

    def __init__(self, head: list[str], inside: list[str]) -> None:
        self.head, self.inside = head, inside


def read_back(text: str) -> list[Statement]:
    """The statements of a configuration. Fails when strings or braces do not come out even."""
    found: list[Statement] = []
    head: list[str] = []
    inside: list[str] = []
    depth = position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        assert token is not None, text[position : position + 60]
        position = token.end()
        if token.lastgroup in ("space", "comment"):
            continue
        assert "/*" not in token[0] or token.lastgroup == "string"
        depth += {"open": 1, "close": -1}.get(str(token.lastgroup), 0)
        assert depth >= 0
        (inside if depth or token.lastgroup == "close" else head).append(token[0])
        if not depth and token.lastgroup in ("close", "end"):
            found.append(Statement(head, inside))
            head, inside = [], []
    assert depth == 0
    assert not head
    return found


def altered(plan: BirdPlan, text: str) -> Iterator[str]:
    """How the configuration differs from the plan."""
    statements = read_back(text)
    protocols = [s for s in statements if s.head[0] == "protocol"]
    sessions = {s.head[2]: s.inside for s in protocols if s.head[1] == "bgp"}
    if sorted(sessions) != [peer.name for peer in plan.peers]:
        yield f"sessions {sorted(sessions)}"
    kinds = {"protocol", "filter", "function", "log", "timeformat", "router", "watchdog", "graceful", "debug", ";"}
    if not {s.head[0] for s in statements if s.head} <= kinds:
        yield f"statements {[s.head for s in statements]}"
    others = sorted(s.head[2] for s in protocols if s.head[1] != "bgp")
    if others != sorted(_other_protocols(plan)):
        yield f"protocols {others}"
    routes = sorted(word for s in protocols if s.head[1] == "static" for word in _after(s.inside, "route"))
    if routes != sorted(_routes(plan)):
        yield f"routes {routes}"
    strings = {token for s in statements for token in (*s.head, *s.inside) if token.startswith('"')}
    if strange := strings - _strings(plan):
        yield f"strings {strange}"
    for peer in plan.peers:
        inside = sessions.get(peer.name, [])
        end = "range" if peer.dynamic else peer.address
        if _after(inside, "neighbor") != [end]:
            yield f"{peer.name} has the far end {_after(inside, 'neighbor')}"
        if _after(inside, "password") != ([f'"{peer.password.reveal()}"'] if peer.password else []):
            yield f"{peer.name} has another password"
        if [word for word in inside if word in ("ipv4", "ipv6")] != [f"ipv{family}" for family in peer.families]:
            yield f"{peer.name} has other channels"
        called = [word.partition("(")[0] for word in inside if word.startswith("'")]
        if called != [
            f"'{_function(name)}_{direction}FilterV{family}'"
            for family in peer.families
            for direction in ("import", "export")
            for name in peer.filters
        ]:
            yield f"{peer.name} has the filters {called}"


def _after(tokens: list[str], word: str) -> list[str]:
    return [following for token, following in pairwise(tokens) if token == word]


def _function(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest().upper()[:16]
    return f"bgp_{name}" if len(name) <= 45 else f"bgp_{name[:28]}_{digest}"


def _other_protocols(plan: BirdPlan) -> Iterator[str]:
    yield from ("device_all", "direct_all", "kernel4", "kernel6", "blocks4", "blocks6")
    for name, items in (("reach", plan.reach), ("services", plan.services)):
        yield from sorted({f"{name}{item.family}" for item in items})
    if any(peer.bfd for peer in plan.peers):
        yield "bfd_all"
    if any(peer.interface for peer in plan.peers):
        yield "radv_links"


def _routes(plan: BirdPlan) -> Iterator[str]:
    for block in (*plan.blocks, *plan.services):
        network = ipaddress.ip_network(block.cidr)
        if block in plan.services or network.prefixlen < network.max_prefixlen:
            yield block.cidr
    for way in plan.reach:
        yield f"{way.address}/{32 if way.family == 4 else 128}"


def _strings(plan: BirdPlan) -> set[str]:
    texts = {LOG, LOG + ".1", "cali*", "tap*", "kube-ipvs*", "*", "*.cali", "*.calico", "bpf*.cali"}
    texts |= {"Local_Workload_*", *(f"{name}{family}" for name in ("reach", "services") for family in (4, 6))}
    texts |= set(plan.ignored_interfaces)
    for peer in plan.peers:
        texts |= {peer.interface, f"{peer.name}_"} | ({peer.password.reveal()} if peer.password else set())
    for item in plan.filters:
        texts |= {rule.interface for family in (4, 6) for rule in item.rules("export", family)}  # type: ignore[arg-type]
        texts |= {rule.interface for family in (4, 6) for rule in item.rules("import", family)}  # type: ignore[arg-type]
    return {f'"{text}"' for text in texts}
