"""Documents of every kind with every field, drawn from the types of the fields (for tests)."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec.inspect import (
    BoolType,
    DictType,
    Field,
    FloatType,
    IntType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

from calico.model.kinds import BY_KIND

_BY_NAME: dict[str, Any] = {
    "action": ["Allow", "Deny", "Log", "Pass"],
    "cidr": ["10.0.0.0/8", "fd00::/8"],
    "code": [0, 3],
    "defaultAction": ["Deny", "Pass"],
    "deleted": ["true", "false"],
    "ipVersion": [4, 6],
    "ipipMode": ["Never", "Always"],
    "names": [["a"], ["a", "b"]],
    "nets": [["10.0.0.0/8"], ["10.1.0.0/16", "192.168.0.1"]],
    "notNets": [["10.2.0.0/16"]],
    "notPorts": [[80], ["1:5", "http"]],
    "notProtocol": ["UDP", 17],
    "policyTypes": [["Ingress"]],
    "ports": [[80], ["1:5", "http"]],
    "protocol": ["TCP", 6, "6", "udp"],
    "reservedCIDRs": [["10.0.0.1"]],
    "type": [0, 8],
    "types": [["Ingress"], ["Ingress", "Egress"]],
    "vxlanMode": ["Never", "Always"],
}
"""What a field may hold so that reading finds nothing wrong with it; where a struct is expected it is drawn as one."""

_SCALARS: dict[type[Type], Any] = {
    BoolType: st.booleans(),
    IntType: st.integers(1, 60),
    FloatType: st.integers(0, 5).map(float) | st.just(1.5),
    StrType: st.sampled_from(["a", "b", "c.d"]),
}


def documents(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """A document of which any field may be absent and which reads without problems."""
    info = type_info(BY_KIND[kind].cls)
    assert isinstance(info, StructType)
    skipped = ("kind", "apiVersion")
    fields = [field for field in info.fields if field.encode_name not in skipped]
    drawn = st.fixed_dictionaries({}, optional={field.encode_name: _value(field) for field in fields})
    return drawn.map(_with_range) if kind == "IPPool" else drawn


def _with_range(pool: dict[str, Any]) -> dict[str, Any]:
    return {**pool, "spec": {"cidr": "10.0.0.0/8", **pool.get("spec", {})}}


def _value(field: Field) -> st.SearchStrategy[Any]:
    name, kind = field.encode_name, field.type
    if name in ("ownerReferences", "finalizers", "resourceVersion", "creationTimestamp", "annotations"):
        return st.nothing()
    if name.endswith("elector") and _holds(kind, StrType):
        return st.sampled_from(["all()", "has(a)", "a == 'b'"])
    if name in _BY_NAME and not _structs(kind) and (name != "type" or _holds(kind, IntType)):
        values = _BY_NAME[name]
        return st.sampled_from([one for one in values if _holds(kind, IntType) or not isinstance(one, int | float)])
    return _of(kind)


def _of(kind: Type) -> st.SearchStrategy[Any]:
    if isinstance(kind, UnionType):
        return st.one_of([_of(one) for one in kind.types if type(one).__name__ != "NoneType"])
    if isinstance(kind, StructType):
        required = {field.encode_name: _value(field) for field in kind.fields if field.required}
        fields = {field.encode_name: _value(field) for field in kind.fields if not field.required}
        return st.fixed_dictionaries(required, optional={k: v for k, v in fields.items() if not v.is_empty})
    if isinstance(kind, VarTupleType):
        return st.lists(_of(kind.item_type), max_size=3)
    if isinstance(kind, DictType):
        return st.dictionaries(st.sampled_from(["a", "b"]), _of(kind.value_type), max_size=2)
    return _SCALARS[type(kind)]


def _structs(kind: Type) -> bool:
    return (
        isinstance(kind, StructType)
        or (isinstance(kind, VarTupleType) and _structs(kind.item_type))
        or (isinstance(kind, UnionType) and any(map(_structs, kind.types)))
    )


def _holds(kind: Type, wanted: type[Type]) -> bool:
    return isinstance(kind, wanted) or (
        isinstance(kind, UnionType) and any(isinstance(one, wanted) for one in kind.types)
    )
