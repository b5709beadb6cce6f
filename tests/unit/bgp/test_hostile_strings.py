"""Whatever stands in the datastore: BIRD accepts what we make of it, and nothing of it becomes a statement."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from calico.bgp.birdconf.render import render
from calico.bgp.planning.plan import build_plan
from calico.bgp.planning.snapshot import SnapshotStore
from calico.datastore.api import Update

_MARK = "evil_marker"
_NASTY = st.sampled_from(
    [
        f'"; protocol static {_MARK} {{ ipv4; }} #',
        f"10.0.0.2; }} protocol pipe {_MARK}",
        f"10.65.0.0/16 {{ {_MARK} }}",
        f"\n{_MARK}\n",
        f"/* {_MARK}",
        f"# {_MARK}",
        f"fe80::1%{_MARK}",
        f"{_MARK}.0.0.1",
        f"10.0.0.1/{_MARK}",
        f"[{_MARK}]:179",
        f"10.0.0.9:179 {_MARK}",
        "10.0.0.9:99999",
        "٣.٣.٣.٣",
        "１０.0.0.1/24",
        "10.0.0.010",
        "::ffff:10.0.0.1",
        "255.255.255.255",
        "0.0.0.0/0",
        "::/0",
        "10.65.1.7/26",
        "1e3",
        "-1",
        "99999999999",
        "1.99999",
        "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
        "x" * 300,
        "",
    ]
)
_TEXT = _NASTY | st.text(max_size=20)
_ANY = _TEXT | st.integers(-(2**70), 2**70) | st.none() | st.booleans() | st.floats(allow_nan=False) | st.just({})
_ADDRESS = st.sampled_from(["10.0.0.2", "10.0.0.3:179", "fd00::2", "[fd00::2]:1790", "10.0.0.1"]) | _TEXT
_AS = st.sampled_from([64512, 65000, "1.10", 0, 4294967295]) | _ANY
_DURATION = st.sampled_from(["30s", "5000s", "0s", "-1s", "1h"]) | _ANY


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


_BGP = _some(
    ipv4Address=st.sampled_from(["10.0.0.1/24", "10.0.0.2/24"]) | _TEXT,
    ipv6Address=st.sampled_from(["fd00::1/64", "fd00::2/64"]) | _TEXT,
    asNumber=_AS,
    routeReflectorClusterID=st.sampled_from(["224.0.0.1", "1.1.1.1"]) | _TEXT,
)
_PEER = _some(
    node=st.sampled_from(["a", "b"]) | _TEXT,
    nodeSelector=st.sampled_from(["all()", "has(x)"]) | _TEXT,
    peerIP=_ADDRESS,
    peerSelector=st.sampled_from(["all()", "has(x)"]) | _TEXT,
    asNumber=_AS,
    localASNumber=_AS,
    nextHopMode=st.sampled_from(["Self", "Keep"]) | _ANY,
    keepOriginalNextHop=st.booleans(),
    sourceAddress=st.sampled_from(["None", "UseNodeIP"]) | _ANY,
    maxRestartTime=_DURATION,
    keepaliveTime=_DURATION,
    ttlSecurity=st.integers(-1, 300) | _ANY,
    numAllowedLocalASNumbers=st.integers(-1, 2**32) | _ANY,
    password=st.just({"secretKeyRef": {"name": "s", "key": "k"}}) | _ANY,
    filters=st.lists(_TEXT, max_size=2),
    reachableBy=_TEXT,
    localWorkloadSelector=_TEXT,
    reversePeering=_TEXT,
)
_ANNOTATIONS = st.dictionaries(
    st.sampled_from([f"bgp.calico-network/{name}" for name in ("bfd", "ipv4-over-ipv6", "interface")]),
    st.sampled_from(["true", "100ms", "1s x5", "eth1"]) | _TEXT,
)
_RULE = _some(
    action=st.sampled_from(["Accept", "Reject"]) | _TEXT,
    cidr=st.sampled_from(["10.0.0.0/8", "fd00::/8"]) | _TEXT,
    matchOperator=st.sampled_from(["In", "Equal"]) | _TEXT,
    prefixLength=_some(min=_ANY, max=_ANY),
    interface=st.sampled_from(["eth*"]) | _TEXT,
    peerType=st.sampled_from(["eBGP"]) | _TEXT,
    source=st.sampled_from(["RemotePeers"]) | _TEXT,
    communities=_some(values=st.lists(st.sampled_from(["1:2", "1:2:3"]) | _TEXT, max_size=2)),
    asPathPrefix=st.lists(_AS, max_size=2),
    priority=_ANY,
    operations=st.lists(_some(addCommunity=_some(value=_TEXT), prependASPath=_some(prefix=st.lists(_AS)),
                              setPriority=_some(value=_ANY)), max_size=2),
)  # fmt: skip
_FILTER = _some(exportV4=st.lists(_RULE, max_size=2), importV6=st.lists(_RULE, max_size=2))
_CONFIG = _some(
    asNumber=_AS,
    nodeToNodeMeshEnabled=st.booleans(),
    listenPort=st.integers(-1, 70000) | _ANY,
    nodeMeshMaxRestartTime=_DURATION,
    ignoredInterfaces=st.lists(_TEXT, max_size=3),
    logSeverityScreen=_TEXT,
    bindMode=st.sampled_from(["NodeIP", "None"]) | _TEXT,
    programClusterRoutes=_TEXT,
    ipv4NormalRoutePriority=st.integers(-1, 2**31) | _ANY,
    prefixAdvertisements=st.lists(st.fixed_dictionaries({"cidr": _TEXT, "communities": st.lists(_TEXT)}), max_size=2),
)
_JSON = st.recursive(
    _ANY, lambda inner: st.dictionaries(st.sampled_from(["spec", "bgp", "metadata", "labels"]), inner) | st.lists(inner)
).map(lambda tree: json.dumps(tree).encode())
_POOL = _some(
    cidr=st.sampled_from(["10.65.0.0/16", "fd65::/48"]) | _TEXT, disabled=st.booleans(), disableBGPExport=st.booleans(),
    vxlanMode=_TEXT, ipipMode=_TEXT,
)  # fmt: skip


@settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mine=_BGP,
    theirs=_BGP,
    peers=st.lists(st.tuples(_PEER, _ANNOTATIONS), max_size=3),
    filters=st.dictionaries(st.sampled_from(["f", "f'g", "a b"]) | _TEXT, _FILTER, max_size=2),
    secret=_TEXT,
    config=_CONFIG,
    pools=st.lists(_POOL, max_size=2),
    names=st.lists(_TEXT, min_size=3, max_size=3),
    block=_TEXT | st.sampled_from(["10.65.1.0-26", "fd65::-122"]),
    mode=st.sampled_from(["pools", "interfaces"]),
)
@example(
    mine={"ipv4Address": "10.0.0.1/24"},
    theirs={"ipv4Address": "10.0.0.2/24"},
    peers=[({"peerIP": f"10.0.0.3; {_MARK}", "asNumber": 1}, {})],
    filters={f"f' {_MARK}": {}},
    secret=f'"; {_MARK}',
    config={"ignoredInterfaces": [f'x"; {_MARK}', "eth0"]},
    pools=[{"cidr": "10.65.0.0/16"}],
    names=[_MARK, _MARK, _MARK],
    block="10.65.1.0-26",
    mode="pools",
)
@example(
    mine={"ipv4Address": "10.0.0.1/24"},
    theirs={},
    peers=[({"peerIP": "10.0.0.3", "asNumber": 1}, {})],
    filters={f"f'(bool x) {{ }} {_MARK}": {}},
    secret="",
    config={},
    pools=[],
    names=["", "", ""],
    block="",
    mode="pools",
)
def test_no_content_of_the_datastore_breaks_the_configuration_or_becomes_part_of_it(
    new_world: Callable[[], Any],
    bird_refusal: Callable[[str], str],
    mine: Any,
    theirs: Any,
    peers: list[Any],
    filters: dict[str, Any],
    secret: str,
    config: Any,
    pools: list[Any],
    names: list[str],
    block: str,
    mode: str,
) -> None:
    world = new_world().put("nodes", "a", {"bgp": mine}, {"x": names[0]}).put("nodes", "b", {"bgp": theirs})
    for index, (spec, wishes) in enumerate(peers):
        named = {"filters": [name for name in filters if "/" not in name]} | spec
        world.put("bgppeers", f"{names[1].replace('/', '')}{index}", named, None, wishes)
    for name, spec in filters.items():
        world.put("bgpfilters", name.replace("/", "") or "f", spec)
    world.secret("s", "k", secret)
    for index, spec in enumerate(pools):
        world.put("ippools", f"{names[2].replace('/', '')}{index}", spec)
    world.put("bgpconfigurations", "default", config).put("bgpconfigurations", "node.a", config)
    world.put_raw(f"/calico/ipam/v2/host/a/ipv4/block/{block}", "{}")
    text = render(world.plan("a", export_mode=mode).plan, "/run/calico/bird.log")
    assert bird_refusal(text) == ""
    # An interface pattern, an interface or a password may hold the marker, as a string; nothing else may.
    assert _MARK not in re.sub(r'"[^"\n]*"', '""', text)


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(["nodes", "bgppeers", "bgpconfigurations", "ippools"]),
    name=st.sampled_from(["a", "b", "default", "node.a"]),
    raw=st.binary(max_size=60) | _JSON,
)  # fmt: skip
def test_no_bytes_in_the_datastore_stop_the_planner(
    new_world: Callable[[], Any], kind: str, name: str, raw: bytes
) -> None:
    world = new_world().node("a", "10.0.0.1").node("b", "10.0.0.2").peer("p", peerIP="10.0.0.9", asNumber=1)
    store = SnapshotStore("a")
    store.apply([*world.updates, Update(f"/calico/resources/v3/projectcalico.org/{kind}/{name}", raw, 9)])
    planned = build_plan(store.view(), "a")
    assert render(planned.plan, "/run/calico/bird.log").startswith("# Generated")
