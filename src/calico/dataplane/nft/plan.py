"""Which requests bring the kernel's table from what it has to what it should have. Pure.

Order within the transaction, so that nothing refers to what is not there: new counters, sets, chains, elements, rules,
then removals (rules of removed chains, sets, chains, counters). Work is proportional to what is dirty.

Some of it goes ahead in a transaction of its own (``make_plan_ahead``), and some stays for one after it (``kept``): a
packet that is being judged goes on with the rules that it began with, but looks sets up as they are by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from calico.dataplane.nft.mirror import KernelChain, Mirror
from calico.dataplane.nft.moves import Keys
from calico.dataplane.nft.refusal import Exclusions, Owner
from calico.netlink.nftables.codec import Request, TableCodec, encode_rules, same_rules
from calico.netlink.nftables.element_codec import element_chunks
from calico.netlink.nftables.expr import CountIn, Lookup, Rule, Verdict
from calico.netlink.nftables.objects import VERDICT_VALUE, Chain, ElementValue, SetDecl
from calico.netlink.nftables.set_codec import KernelSet, encode_set
from calico.netlink.wire import WireError
from calico.rules.drops import drop
from calico.rules.table import Changes, TableState

__all__ = ["Plan", "make_plan", "make_plan_ahead", "may_drop", "same_shape"]

_DROP: Final = (Rule(drop("refused-by-kernel"), "refused by the kernel"),)
_NO_KEYS: Final[Sequence[bytes]] = ()
_NOTHING: Final[Keys] = {}


class Plan:
    """Requests, whose each of them is, and what will be true of the kernel when all were carried out."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.owners: list[Owner] = []
        self.chains: dict[str, KernelChain | None] = {}
        self.sets: dict[str, KernelSet | None] = {}
        self.elements: list[tuple[str, Iterable[bytes], Mapping[bytes, ElementValue]]] = []
        self.counters: dict[str, bool] = {}
        """Whether each is there."""
        self.needs_grace = False
        """Whether packets that have begun must have ended before the next transaction; else one might pass."""

    def add(self, owner: Owner, request: Request) -> None:
        self.owners.append(owner)
        self.requests.append(request)

    def commit(self, mirror: Mirror) -> None:
        """Record the plan in the mirror: the kernel has carried it out."""
        for name, kernel_set in self.sets.items():
            if kernel_set is None:
                mirror.drop_set(name)
            else:
                mirror.put_set(kernel_set)
        for name, gone, put in self.elements:
            mirror.change_elements(name, gone, put)
        for name, chain in self.chains.items():
            if chain is None:
                mirror.drop_chain(name)
            else:
                mirror.put_chain(name, chain)
        for name, present in self.counters.items():
            (mirror.counters.add if present else mirror.counters.discard)(name)


def make_plan(
    codec: TableCodec,
    state: TableState,
    mirror: Mirror,
    dirty: Changes,
    exclusions: Exclusions,
    kept: Keys = _NOTHING,
) -> Plan:
    """The plan for what is dirty, without what is excluded. What cannot be encoded is added to ``exclusions``.
    ``kept``: elements that are not removed yet."""
    return _Planner(codec, state, mirror, dirty, exclusions, kept).make()


def make_plan_ahead(codec: TableCodec, state: TableState, mirror: Mirror, dirty: Changes, early: Keys) -> Plan:
    """What must be in the kernel before the plan for what is dirty is carried out, and changes no verdict: chains that
    elements of maps are to lead to, since a packet that began before a chain was there finds it empty; and addresses
    that move (``early``)."""
    return _Planner(codec, state, mirror, dirty, Exclusions(), _NOTHING).make_ahead(early)


def may_drop(chain: Chain | None) -> bool:
    """Whether failing closed may put a drop rule into a chain: all but the host's own base chains, which would cut
    the host off rather than its workloads."""
    return chain is not None and (chain.hook is None or chain.hook.hook == "forward")


class _Planner:
    def __init__(
        self,
        codec: TableCodec,
        state: TableState,
        mirror: Mirror,
        dirty: Changes,
        exclusions: Exclusions,
        kept: Keys,
    ) -> None:
        self._kept = kept
        self._codec = codec
        self._state = state
        self._mirror = mirror
        self._dirty = dirty
        self._excluded = exclusions
        self._plan = Plan()
        self._renamed: Mapping[str, str] = mirror.renamed
        self._names_taken: set[str] = set()
        self._gone_sets: list[KernelSet] = []
        self._replaced: list[KernelSet] = []
        self._gone_chains: list[str] = []
        self._bodies: list[tuple[str, list[bytes]]] = []

    def make(self) -> Plan:
        chains = dict.fromkeys(sorted(self._dirty.chains))
        for name in sorted(self._dirty.counters):
            self._plan_counter(name)
        for name in sorted(self._dirty.sets):
            self._plan_set(name)
            if name in self._plan.sets:
                chains.update(dict.fromkeys(self._mirror.users(name)))
        for name in self._excluded.elements:
            chains.update(dict.fromkeys(self._mirror.users(name)))
        self._rename()
        for name in chains:
            self._plan_chain(name)
        for name in sorted({*self._dirty.sets, *self._dirty.elements}):
            self._plan_elements(name)
        for name, bodies in self._bodies:
            self._plan_rules(name, bodies)
        self._plan_removals()
        return self._plan

    def make_ahead(self, early: Keys) -> Plan:
        new = self._new_chains()
        kinds = {verdict.kind for verdict in self._new_leads() if verdict.chain in new}
        if kinds:
            self._make_chains_ahead(sorted(new))
        for name, keys in sorted(early.items()):
            kernel_set = self._mirror.sets[name]
            assert kernel_set.decl is not None
            self._write_elements(kernel_set, kernel_set.decl, (), dict.fromkeys(keys))
        self._plan.needs_grace = bool(early) or "goto" in kinds
        return self._plan

    def _new_chains(self) -> set[str]:
        """The chains to be made, but those that look up sets which are made anew, and what leads to them."""
        chains = {name: self._state.chains[name] for name in self._dirty.chains if self._is_new_chain(name)}
        replaced = set(filter(self._is_replaced, self._dirty.sets))
        waiting = {name for name, chain in chains.items() if replaced and _lookups(chain.rules) & replaced}
        while more := {name for name in chains.keys() - waiting if _leads(chains[name].rules) & waiting}:
            waiting |= more
        return chains.keys() - waiting

    def _is_new_chain(self, name: str) -> bool:
        want = self._state.chains.get(name)
        return want is not None and want.hook is None and name not in self._mirror.chains

    def _is_replaced(self, name: str) -> bool:
        want, have = self._state.sets.get(name), self._mirror.sets.get(name)
        return want is not None and have is not None and have.decl != want

    def _new_leads(self) -> Iterable[Verdict]:
        """What elements of maps that are in the kernel are to lead to and do not yet."""
        for name in {*self._dirty.sets, *self._dirty.elements}:
            decl = self._state.sets.get(name)
            if decl is not None and decl.value == VERDICT_VALUE and name in self._mirror.sets:
                wanted, have = self._state.elements(name), self._mirror.elements[name]
                for key in wanted if name in self._dirty.sets else self._dirty.elements[name]:
                    value = wanted.get(key)
                    if isinstance(value, Verdict) and value != have.get(key):
                        yield value

    def _make_chains_ahead(self, chains: Iterable[str]) -> None:
        """Nothing in the kernel leads to them yet."""
        sets = [name for name in sorted(self._dirty.sets) if name in self._state.sets and name not in self._mirror.sets]
        for name in sorted(self._dirty.counters & self._state.counters):
            self._plan_counter(name)
        for name in sets:
            self._plan_set(name)
        self._rename()
        for name in chains:
            self._plan_chain(name)
        for name in sets:
            self._plan_elements(name)
        for name, bodies in self._bodies:
            self._plan_rules(name, bodies)

    # -- counters ----------------------------------------------------------------------------------------------------

    def _plan_counter(self, name: str) -> None:
        want, have = name in self._state.counters, name in self._mirror.counters
        if want and not have and name not in self._excluded.counters:
            self._plan.add(("counter", name, _NO_KEYS), self._codec.put_counter(name))
            self._plan.counters[name] = True
        elif have and not want and name not in self._excluded.kept_counters:
            self._plan.counters[name] = False

    # -- sets --------------------------------------------------------------------------------------------------------

    def _plan_set(self, name: str) -> None:
        want, have = self._state.sets.get(name), self._mirror.sets.get(name)
        if want is None:
            if have is not None and name not in self._excluded.kept_sets:
                self._gone_sets.append(have)
        elif (have is None or have.decl != want) and name not in self._excluded.sets:
            kernel_name = self._mirror.free_kernel_name(name, self._names_taken)
            self._names_taken.add(kernel_name)
            try:
                body = encode_set(want, kernel_name, len(self._plan.requests) + 1)
            except WireError as error:
                self._excluded.refuse("set", name, str(error))
                return
            self._plan.add(("set", name, _NO_KEYS), self._codec.create_set(body))
            self._plan.sets[name] = KernelSet(kernel_name, name, want)
            if have is not None:
                self._replaced.append(have)

    def _rename(self) -> None:
        changed = {name: planned.kernel_name for name, planned in self._plan.sets.items() if planned is not None}
        if any(self._renamed.get(name, name) != kernel_name for name, kernel_name in changed.items()):
            names = {**self._renamed, **changed}
            self._renamed = {name: kernel_name for name, kernel_name in names.items() if kernel_name != name}

    # -- elements ----------------------------------------------------------------------------------------------------

    def _plan_elements(self, name: str) -> None:
        want = self._state.sets.get(name)
        target = self._plan.sets.get(name) or self._mirror.sets.get(name)
        if want is None or target is None or not same_shape(want, target.decl):
            return
        is_new = name in self._plan.sets
        have = {} if is_new else self._mirror.elements[name]
        desired = self._state.elements(name)
        refused = self._excluded.elements.get(name)
        if is_new or name in self._dirty.sets:
            gone, put = _all_differences(desired, have, ordinary=want.value is None)
        else:
            gone, put = _differences(desired, have, self._dirty.elements[name])
        if refused:
            gone += [key for key in refused if key in have and key not in gone]
            put = [key for key in put if key not in refused]
        kept = self._kept.get(name)
        if kept and not is_new:
            gone = [key for key in gone if key not in kept]
        if gone or put:
            self._write_elements(target, want, gone, {key: desired[key] for key in put})

    def _write_elements(
        self, target: KernelSet, decl: SetDecl, gone: Sequence[bytes], put: Mapping[bytes, ElementValue]
    ) -> None:
        name, kernel_name = target.name, target.kernel_name
        single = name in self._excluded.single
        chunks_gone = list(element_chunks(decl, gone))
        try:
            chunks_put = list(element_chunks(decl, list(put), put, single=single))
        except WireError:
            put = self._encodable(decl, put)
            chunks_put = list(element_chunks(decl, list(put), put, single=single))
        for chunk, keys in chunks_gone:
            self._plan.add(("gone-elements", name, keys), self._codec.delete_elements(kernel_name, chunk))
        for chunk, keys in chunks_put:
            self._plan.add(("elements", name, keys), self._codec.add_elements(kernel_name, chunk))
        self._plan.elements.append((name, gone, put))

    def _encodable(self, decl: SetDecl, put: Mapping[bytes, ElementValue]) -> dict[bytes, ElementValue]:
        kept: dict[bytes, ElementValue] = {}
        for key, value in put.items():
            try:
                list(element_chunks(decl, [key], {key: value}))
            except WireError as error:
                self._excluded.refuse_elements(decl.name, [key], str(error))
            else:
                kept[key] = value
        return kept

    # -- chains ------------------------------------------------------------------------------------------------------

    def _plan_chain(self, name: str) -> None:
        want, have = self._state.chains.get(name), self._mirror.chains.get(name)
        if want is None:
            if have is not None and name not in self._excluded.kept_chains:
                self._gone_chains.append(name)
            return
        if name in self._excluded.chains:
            return
        rules, bodies, fingerprint = self._encoded(want)
        content = KernelChain(want.hook, fingerprint, len(bodies), _lookups(rules))
        if have is None:
            try:
                request = self._codec.put_chain(name, want.hook)
            except WireError as error:
                self._excluded.refuse("chain", name, str(error))
                return
            self._plan.add(("chain", name, _NO_KEYS), request)
        elif have.hook != want.hook:
            self._rehook(name, want, have)
        same_content = have is not None and have.fingerprint == fingerprint and have.count == len(bodies)
        if have is not None and same_content and have.read:
            same_content = same_rules(have.read, bodies)
        if not same_content or (have is not None and _moved(want, have)):
            self._bodies.append((name, bodies))
        if have != content:
            self._plan.chains[name] = content

    def _encoded(self, want: Chain) -> tuple[Sequence[Rule], list[bytes], bytes]:
        lacking = sorted(self._state.needs(want.name) & self._excluded.elements.keys())
        if lacking:
            self._excluded.refuse("rules", want.name, f"members are missing in {', '.join(lacking)}")
        if want.name not in self._excluded.dropped:
            try:
                rules = want.rules if not self._excluded.counters else self._uncounted(want.rules)
                return rules, *encode_rules(rules, self._renamed)
            except WireError as error:
                self._excluded.refuse("rules", want.name, str(error))
        rules = self._uncounted(_DROP)
        return rules, *encode_rules(rules, self._renamed)

    def _uncounted(self, rules: Sequence[Rule]) -> Sequence[Rule]:
        """Without counting in counters that are not there: what a rule decides matters more."""
        there = self._state.counters - self._excluded.counters
        return [
            Rule(tuple(e for e in rule.exprs if type(e) is not CountIn or e.counter in there), rule.comment)
            for rule in rules
        ]

    def _rehook(self, name: str, want: Chain, have: KernelChain) -> None:
        """A base chain's policy can be changed in place, all else needs another chain of the same name."""
        owner: Owner = ("chain", name, _NO_KEYS)
        if _moved(want, have):
            if have.count:
                self._plan.add(owner, self._codec.flush_chain(name))
            self._plan.add(owner, self._codec.delete_chain(name))
        self._plan.add(owner, self._codec.put_chain(name, want.hook))

    def _plan_rules(self, name: str, bodies: Sequence[bytes]) -> None:
        have = self._mirror.chains.get(name)
        want = self._state.chains[name]
        owner: Owner = ("rules", name, _NO_KEYS)
        if have is not None and have.count and not _moved(want, have):
            self._plan.add(owner, self._codec.flush_chain(name))
        append, add = self._codec.append_rule, self._plan.add
        for body in bodies:
            add(owner, append(name, body))

    # -- removals ----------------------------------------------------------------------------------------------------

    def _plan_removals(self) -> None:
        for name in self._gone_chains:
            if self._mirror.chains[name].count:
                self._plan.add(("gone-chain", name, _NO_KEYS), self._codec.flush_chain(name))
        for kernel_set in self._gone_sets:
            self._delete_set(("gone-set", kernel_set.name, _NO_KEYS), kernel_set)
            self._plan.sets[kernel_set.name] = None
        for kernel_set in self._replaced:
            self._delete_set(("set", kernel_set.name, _NO_KEYS), kernel_set)
        for name in self._gone_chains:
            self._plan.add(("gone-chain", name, _NO_KEYS), self._codec.delete_chain(name))
            self._plan.chains[name] = None
        for name, present in self._plan.counters.items():
            if not present:
                self._plan.add(("gone-counter", name, _NO_KEYS), self._codec.delete_counter(name))

    def _delete_set(self, owner: Owner, kernel_set: KernelSet) -> None:
        """Before 6.4 the kernel counts the chains that a deleted map's elements refer to as used until the end."""
        leads_to_chains = kernel_set.decl is None or kernel_set.decl.value == VERDICT_VALUE
        if leads_to_chains:
            self._plan.add(owner, self._codec.delete_elements(kernel_set.kernel_name))
        self._plan.add(owner, self._codec.delete_set(kernel_set.kernel_name))


def _moved(want: Chain, have: KernelChain) -> bool:
    a, b = want.hook, have.hook
    if a is None or b is None:
        return a is not b
    return (a.hook, a.priority, a.type) != (b.hook, b.priority, b.type)


def _lookups(rules: Sequence[Rule]) -> frozenset[str]:
    return frozenset(expr.set for rule in rules for expr in rule.exprs if type(expr) is Lookup)


def _leads(rules: Sequence[Rule]) -> frozenset[str]:
    return frozenset(expr.chain for rule in rules for expr in rule.exprs if type(expr) is Verdict)


def same_shape(want: SetDecl, have: SetDecl | None) -> bool:
    """Whether elements of the one fit into the other."""
    return have is not None and (want.key, want.value, want.interval) == (have.key, have.value, have.interval)


def _all_differences(
    want: Mapping[bytes, ElementValue], have: Mapping[bytes, ElementValue], *, ordinary: bool
) -> tuple[list[bytes], list[bytes]]:
    if not have:
        return [], list(want)
    if ordinary:
        return list(have.keys() - want.keys()), list(want.keys() - have.keys())
    return _differences(want, have, {*want, *have})


def _differences(
    want: Mapping[bytes, ElementValue], have: Mapping[bytes, ElementValue], keys: Iterable[bytes]
) -> tuple[list[bytes], list[bytes]]:
    gone: list[bytes] = []
    put: list[bytes] = []
    for key in keys:
        if key in have:
            if key in want and want[key] == have[key]:
                continue
            gone.append(key)
        if key in want:
            put.append(key)
    return gone, put
