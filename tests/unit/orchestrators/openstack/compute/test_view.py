from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calico.orchestrators.openstack.compute.view import Known, View
from calico.orchestrators.openstack.records import EndpointRecord, SubnetRecord

NAMES, NETWORKS, TAPS = ["e1", "e2", "e3"], ["n1", "n2"], ["tap1", "tap2"]


def endpoint(interface: str, network: str) -> EndpointRecord:
    return EndpointRecord(
        namespace="openstack", host="h", device_id="d", port_id="p", interface=interface, mac="", network_id=network
    )


def subnet(network: str, cidr: str) -> SubnetRecord:
    return SubnetRecord(network_id=network, cidr=cidr)


endpoints = st.none() | st.builds(endpoint, st.sampled_from(TAPS), st.sampled_from(NETWORKS))
subnets = st.none() | st.builds(subnet, st.sampled_from(NETWORKS), st.sampled_from(["10.0.0.0/24", "fd00::/64"]))
changes = st.one_of(
    st.tuples(st.just("endpoint"), st.sampled_from(NAMES), endpoints),
    st.tuples(st.just("subnet"), st.sampled_from(["s1", "s2"]), subnets),
)


@given(st.lists(changes, max_size=20))
def test_any_history_leaves_the_view_of_the_last_state_and_names_who_is_concerned(
    history: list[tuple[str, str, object]],
) -> None:
    view, ports, records = View(), dict[str, EndpointRecord](), dict[str, SubnetRecord]()
    for kind, name, value in history:
        before = told(ports, records)
        if kind == "endpoint":
            assert value is None or isinstance(value, EndpointRecord)
            concerned = view.put_endpoint(name, value)
            ports.pop(name, None)
            if value is not None:
                ports[name] = value
        else:
            assert value is None or isinstance(value, SubnetRecord)
            concerned = view.put_subnet(name, value)
            records.pop(name, None)
            if value is not None:
                records[name] = value
        after = told(ports, records)
        assert {tap for tap in TAPS if before[tap] != after[tap]} <= concerned
        for tap in TAPS:
            port = view.port(tap)
            assert (port, dict(view.subnets(port)) if port else {}) == after[tap]
    networks = {port.network_id for port in ports.values()}
    used = {name: record for name, record in records.items() if record.network_id in networks}
    assert view.known() == Known(ports, used)
    assert view.counts == (len(ports), len(records))
    again = View.of(view.known())
    assert all(again.port(tap) == view.port(tap) for tap in TAPS)


def told(ports: dict[str, EndpointRecord], records: dict[str, SubnetRecord]) -> dict[str, object]:
    """By interface: its port and the subnets of that port's network."""
    found: dict[str, object] = {}
    for tap in TAPS:
        port = next((ports[name] for name in sorted(ports) if ports[name].interface == tap), None)
        of_network = {n: r for n, r in records.items() if port is not None and r.network_id == port.network_id}
        found[tap] = (port, of_network)
    return found
