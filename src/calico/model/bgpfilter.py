"""BGPFilter: which routes a peering takes in and gives out, and what is changed on them (spec §16.15)."""

from __future__ import annotations

from msgspec import field

from calico.model.meta import Model, Resource

__all__ = [
    "AddCommunity",
    "BGPFilter",
    "BGPFilterSpec",
    "CommunityMatch",
    "FilterOperation",
    "FilterRule",
    "PrefixLength",
    "PrependASPath",
    "SetPriority",
]


class PrefixLength(Model, frozen=True, kw_only=True):
    """Bounds of the length of a prefix, both included."""

    min: int | None = None
    max: int | None = None


class CommunityMatch(Model, frozen=True, kw_only=True):
    """A community (``aa:nn`` or ``aa:nn:mm``) that the route must carry; exactly one."""

    values: tuple[str, ...] = ()


class AddCommunity(Model, frozen=True, kw_only=True):
    """A community to put on the route."""

    value: str = ""


class PrependASPath(Model, frozen=True, kw_only=True):
    """AS numbers to put before the path, in the order in which they shall stand there."""

    prefix: tuple[int | str, ...] = ()


class SetPriority(Model, frozen=True, kw_only=True):
    """The priority (kernel metric; a lower one wins) that the route shall have."""

    value: int = 0


class FilterOperation(Model, frozen=True, kw_only=True):
    """One change; exactly one of the fields is given."""

    add_community: AddCommunity | None = None
    prepend_as_path: PrependASPath | None = field(default=None, name="prependASPath")
    set_priority: SetPriority | None = None


class FilterRule(Model, frozen=True, kw_only=True):
    """Conditions that must all hold, and the verdict. ``operations`` go with Accept only."""

    cidr: str = ""
    prefix_length: PrefixLength | None = None
    source: str = ""
    interface: str = ""
    match_operator: str = ""
    peer_type: str = ""
    communities: CommunityMatch | None = None
    as_path_prefix: tuple[int | str, ...] = ()
    priority: int | None = None
    action: str = ""
    operations: tuple[FilterOperation, ...] = ()


class BGPFilterSpec(Model, frozen=True, kw_only=True):
    """Rules by direction and family, in order; the first that matches decides, none: the route goes on."""

    export_v4: tuple[FilterRule, ...] = ()
    import_v4: tuple[FilterRule, ...] = ()
    export_v6: tuple[FilterRule, ...] = ()
    import_v6: tuple[FilterRule, ...] = ()


class BGPFilter(Resource, frozen=True, kw_only=True):
    """Rules that peerings name in ``filters``."""

    spec: BGPFilterSpec = BGPFilterSpec()
