"""Rules of policies by chance, with every field; most rules restrict little, so that packets get somewhere."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from calico.model.policy import EntityRule, HTTPMatch, ICMPFields, Rule, RuleMetadata
from worlds.vocabulary import (
    ACCOUNTS,
    ACTIONS,
    ENTITY_NAMESPACES,
    ICMPS,
    NETS,
    PORT_ENTRIES,
    PROTOCOLS,
    SELECTORS,
    SERVICE,
)

__all__ = ["RuleDraw"]

T = TypeVar("T")

_WITH_PORTS = ("TCP", "UDP", "SCTP", 6, "17")
_NAMED = ("http", "dns", "ghost")


class RuleDraw:
    """Draws rules; ``odd`` is the chance of each field to be what should not be stored."""

    def __init__(self, random: Random, odd: float) -> None:
        self._random = random
        self._odd = odd

    def rule(self) -> Rule:
        """A rule whose fields fit each other, apart from what is odd."""
        protocol = self._maybe(PROTOCOLS, 0.55)
        with_ports = protocol in _WITH_PORTS or self._is_odd()
        return Rule(
            action=self._usually(self._random.choice(ACTIONS), "Perhaps", "allow"),
            ip_version=self._usually(self._random.choice((None, None, None, 4, 6)), 5),
            protocol=self._usually(protocol, "nonsense", 300),
            not_protocol=self._maybe(PROTOCOLS, 0.12),
            icmp=self._icmp(protocol),
            not_icmp=self._icmp(protocol),
            source=self._entity(protocol, with_ports),
            destination=self._entity(protocol, with_ports),
            http=self._usually(None, HTTPMatch(methods=("GET",))),
            metadata=self._maybe((RuleMetadata(annotations={"why": 'be"cause'}),), 0.1),
        )

    def _icmp(self, protocol: int | str | None) -> ICMPFields | None:
        fits = protocol in ("ICMP", "ICMPv6") or self._is_odd()
        return self._usually(self._maybe(ICMPS, 0.5) if fits else None, ICMPFields(code=1), ICMPFields(type=255))

    def _entity(self, protocol: int | str | None, with_ports: bool) -> EntityRule:
        if self._random.random() < 0.35:
            return EntityRule()
        choices = PORT_ENTRIES if with_ports else _NAMED if protocol is None else ()
        return EntityRule(
            nets=self._usually(self._some(NETS, 0.25, 3), ("10.0.0.0/33",)),
            not_nets=self._some(NETS[1:], 0.12, 2),
            selector=self._usually(self._maybe(SELECTORS, 0.3) or "", "a ==", "a == 'x' && a == 'y'"),
            not_selector=self._maybe(SELECTORS[2:], 0.12) or "",
            namespace_selector=self._usually(self._maybe(ENTITY_NAMESPACES, 0.15) or "", "global() || has(a)"),
            ports=self._usually(self._some(choices, 0.35, 3), (0,), ("90:80",)),
            not_ports=self._some(choices, 0.15, 2),
            services=self._usually(None, SERVICE),
            service_accounts=self._maybe(ACCOUNTS, 0.1),
        )

    def _is_odd(self) -> bool:
        return self._random.random() < self._odd

    def _usually(self, usual: T, *odd: Any) -> T:
        return self._random.choice(odd) if self._is_odd() else usual

    def _maybe(self, values: Sequence[T], share: float) -> T | None:
        return self._random.choice(values) if self._random.random() < share else None

    def _some(self, values: Sequence[T], share: float, most: int) -> tuple[T, ...]:
        if not values or self._random.random() >= share:
            return ()
        return tuple(self._random.choice(values) for _ in range(self._random.randint(1, most)))
