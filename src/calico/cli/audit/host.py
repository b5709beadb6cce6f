"""Settings, neighbours, routes and ownership of the host, held against what the datastore says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from calico.cli.audit.findings import Finding
from calico.cli.audit.intent import Intent
from calico.cli.audit.kernel import Kernel
from calico.dataplane.encap.tunnels import DEVICES, tunnel_protocol
from calico.lib import packed
from calico.netlink.rtnetlink.neighbour import NUD_PERMANENT
from calico.rules.ended import ENDED_SETS
from calico.rules.table import TableState

__all__ = ["check_addresses", "check_neighbours", "check_ownership", "check_routes", "check_settings", "check_tunnels"]

Read = Callable[[str], str]

_FIX = "restart Felix (calico-felix), which sets it again; find out who changed it"
_SETTINGS = {
    "ipv4/conf/{}/rp_filter": ("S10", "1", "senders that are reached elsewhere are taken"),
    "ipv4/conf/{}/accept_redirects": ("S7", "0", "redirects are followed"),
    "ipv4/conf/{}/accept_source_route": ("S6", "0", "source routes are followed"),
    "ipv6/conf/{}/accept_ra": ("S7", "0", "router advertisements are followed"),
    "ipv6/conf/{}/accept_redirects": ("S7", "0", "redirects are followed"),
    "ipv4/conf/{}/proxy_arp": ("S8", "1", "the gateway is answered by something else than routes"),
}


def check_settings(kernel: Kernel, intent: Intent, read: Read) -> Iterator[Finding]:
    """The settings of each endpoint's interface that a sender could profit from."""
    for name, endpoint in intent.endpoints.items():
        if name not in kernel.links or not kernel.links[name].up:
            continue
        for path, (number, wanted, meaning) in _SETTINGS.items():
            if endpoint.spoofed and path.endswith("rp_filter"):
                continue  # it may send from networks that are not routed to it
            found = read(path.replace("{}", name))
            if found and found != wanted:
                setting = f"/proc/sys/net/{path.replace('{}', name)}"
                yield Finding(number, name, f"{setting} is {found}, not {wanted}: {meaning}", _FIX)


def check_neighbours(kernel: Kernel, intent: Intent) -> Iterator[Finding]:
    """An endpoint's address is at its MAC, permanently: nobody can claim it by ARP or neighbour discovery."""
    entries = {(kernel.name_of(entry.index), entry.address): entry for entry in kernel.neighbours}
    for name, endpoint in intent.endpoints.items():
        if not endpoint.mac or name not in kernel.links or not kernel.links[name].oper_up:
            continue
        for net in endpoint.nets:
            entry = entries.get((name, net[:-1]))
            text = packed.addr_str(net)
            if entry is None or entry.state != NUD_PERMANENT:
                yield Finding("S6", name, f"the neighbour {text} is not permanent: who answers first is it", _FIX)
            elif entry.mac != endpoint.mac:
                evidence = f"{text} is at {entry.mac.hex(':')}, not at {endpoint.mac.hex(':')}"
                yield Finding("S6", name, evidence, _FIX)


def check_routes(kernel: Kernel, intent: Intent) -> Iterator[Finding]:
    """Only an address's own endpoint's interface leads to it, and no route of ours to what is nobody's."""
    owners: dict[bytes, str] = {}
    for name, endpoint in sorted(intent.endpoints.items(), reverse=True):
        for net in endpoint.nets:
            owners[net] = name
        for _, external in endpoint.nats:
            owners[packed.net_of_host(external)] = name
        for forward in endpoint.forwards:
            owners[packed.net_of_host(forward.external)] = name
    for route in kernel.routes:
        if not route.hops or (route.dst[0] in (0xFE, 0xFF) and packed.is_v6(route.dst)):
            continue
        name, text = kernel.name_of(route.oif), packed.net_str(route.dst)
        owner = owners.get(route.dst)
        if intent.rules.is_workload(name) and name != owner:
            whose = f"an address of {owner}" if owner else "no endpoint's address"
            evidence = f"a route (protocol {route.protocol}) leads {text} to {name}, and it is {whose}"
            yield Finding("S15", f"route {text}", evidence, f"ip route del {text} dev {name}")
        elif owner is not None and not intent.rules.is_workload(name) and name not in DEVICES.values():
            evidence = f"a route (protocol {route.protocol}) leads {text} to {name}, and it is {owner}'s"
            yield Finding("S15", f"route {text}", evidence, f"ip route del {text} dev {name}")


def check_addresses(intent: Intent) -> Iterator[Finding]:
    """An address that two endpoints of this host have; the other hosts' audits find theirs."""
    seen: dict[bytes, str] = {}
    for _, endpoint in sorted(intent.dataplane.endpoints.items()):
        for net in endpoint.nets:
            name = f"{endpoint.key.namespace}/{endpoint.key.name}"
            if net in seen:
                evidence = f"{seen[net]} and {name} both have it; the first by name gets its packets"
                yield Finding("S15", packed.addr_str(net), evidence, "delete one of the two WorkloadEndpoints")
            seen.setdefault(net, name)


def check_tunnels(kernel: Kernel, intent: Intent) -> Iterator[Finding]:
    """Frames are sent to known hosts only."""
    known = {vtep.parent for vtep in intent.dataplane.vteps.values()}
    for device, entry in kernel.forwarding:
        if device in DEVICES.values() and entry.host and entry.host not in known:
            host = packed.addr_str(entry.host)
            evidence = f"frames for {entry.mac.hex(':')} go to {host}, which is no host of the cluster"
            yield Finding("S9", device, evidence, f"bridge fdb del {entry.mac.hex(':')} dev {device} dst {host}")


def check_ownership(kernel: Kernel, intent: Intent) -> Iterator[Finding]:
    """The ruleset is what the datastore says; routes with our numbers are ours."""
    for name in kernel.unreadable:
        yield Finding("S28", name, "it is nothing that Felix makes", "restart Felix, which replaces it")
    yield from min((list(_differences(table, kernel.table)) for table in intent.tables), key=len)
    wanted = {net for e in intent.endpoints.values() for net in e.nets}
    wanted |= {packed.net_of_host(external) for e in intent.endpoints.values() for _, external in e.nats}
    wanted |= {packed.net_of_host(forward.external) for e in intent.endpoints.values() for forward in e.forwards}
    tunnels = tunnel_protocol(intent.config.device_route_protocol)
    for route in kernel.routes:
        text = packed.net_str(route.dst)
        stray = route.protocol == intent.config.device_route_protocol and route.dst not in wanted
        if stray or (route.protocol == tunnels and route.dst not in intent.dataplane.routes):
            evidence = f"it carries our protocol number {route.protocol}, and nothing asks for it"
            yield Finding("S28", f"route {text}", evidence, "restart Felix, which removes it")


def _differences(wanted: TableState, found: TableState) -> Iterator[Finding]:
    fix = "restart Felix, which repairs its ruleset; if it is there again, compare its settings: `calico felix config`"
    for name, chain in wanted.chains.items():
        there = found.chains.get(name)
        if there is None:
            yield Finding("S28", f"chain {name}", "it is missing", fix)
        elif there.hook != chain.hook or [rule.exprs for rule in there.rules] != [rule.exprs for rule in chain.rules]:
            yield Finding("S28", f"chain {name}", "its rules are not those that the datastore asks for", fix)
    for name in found.chains.keys() - wanted.chains.keys():
        yield Finding("S28", f"chain {name}", "nothing asks for it", fix)
    for name in wanted.sets.keys() - found.sets.keys():
        yield Finding("S28", f"set {name}", "it is missing", fix)
    for name in wanted.sets.keys() & found.sets.keys():
        if name not in ENDED_SETS and dict(wanted.elements(name)) != dict(found.elements(name)):
            yield Finding("S28", f"set {name}", "its elements are not those that the datastore asks for", fix)
