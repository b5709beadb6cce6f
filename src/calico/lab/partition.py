"""Cutting a member of the core off from the others, by a table of packet filters in its namespace, and mending it.

The member's packets to and from the others vanish without an answer; the members' connections stay as they are until
etcd gives up on them. Hosts still reach it, unless told otherwise: a member that takes connections and cannot serve
them is what a broken link between members leaves to clients, and worse for them than one that is gone, for which
`kill` is there. The table is the only record of a partition, so it cannot disagree with what packets meet.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from typing import Literal

from calico.errors import Transient

__all__ = ["Cut", "cut_of", "cut_off", "mend", "table_text"]

Cut = Literal["", "members", "all"]
"""From whom a member is cut off: nobody, the other members, or everybody."""

_TABLES: dict[Cut, str] = {"members": "calico-lab-cut", "all": "calico-lab-cut-all"}


def table_text(cut: Cut, others: Collection[str]) -> str:
    """What ``nft -f`` reads; ``others`` are the addresses of the other members, of both families."""
    four = ", ".join(sorted(address for address in others if ":" not in address))
    six = ", ".join(sorted(address for address in others if ":" in address))
    chains = []
    for hook, end in (("input", "saddr"), ("output", "daddr")):
        interface = "iifname" if hook == "input" else "oifname"
        rules = [f"ip {end} {{ {four} }} drop", f"ip6 {end} {{ {six} }} drop"]
        if cut == "all":
            rules = [f'{interface} != "lo" drop']
        body = "\n".join(f"    {rule}" for rule in (f"type filter hook {hook} priority -300;", *rules))
        chains.append(f"  chain {hook} {{\n{body}\n  }}\n")
    return f"table inet {_TABLES[cut]} {{\n{''.join(chains)}}}\n"


def cut_off(netns: str, cut: Cut, others: Collection[str]) -> None:
    """Make it so, whatever it was before, in one transaction."""
    _nft(netns, _removal() + table_text(cut, others))


def mend(netns: str) -> None:
    """Let all packets through again; nothing happens when they are."""
    _nft(netns, _removal())


def cut_of(netns: str) -> Cut:
    """How it is now."""
    listed = _nft(netns, "list tables inet\n")
    for cut, table in _TABLES.items():
        if f"table inet {table}" in listed.splitlines():
            return cut
    return ""


def _removal() -> str:
    """Deletes both tables whether they exist or not: to add one that exists changes nothing."""
    return "".join(f"add table inet {table}\ndelete table inet {table}\n" for table in _TABLES.values())


def _nft(netns: str, text: str) -> str:
    argv = ["nsenter", f"--net=/run/netns/{netns}", "nft", "-f", "-"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Transient(f"nft in {netns} failed: {done.stderr.strip() or 'it said nothing'}")
    return done.stdout
