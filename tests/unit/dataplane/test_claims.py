"""Who gets an interface or an address: a function of the endpoints there are, never of their history."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calico.calc.messages import EndpointId, EndpointUpdate
from calico.dataplane.claims import Claims
from calico.lib.packed import addr_bytes, net
from calico.model.keys import ResourceKey

NAMES = "abcd"


def endpoint(name, interface, *addresses, external=""):
    return EndpointUpdate(
        id=EndpointId("k8s", f"default/{name}", "eth0"),
        key=ResourceKey("WorkloadEndpoint", "default", name),
        interface=interface,
        nets=tuple(net(address) for address in addresses),
        nats=((addr_bytes(addresses[0]), addr_bytes(external)),) if external else (),
    )


changes = st.builds(
    endpoint,
    st.sampled_from(NAMES),
    st.sampled_from(["cali1", "cali2", "cali3"]),
    st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    st.sampled_from(["10.0.0.2", "fd00::1"]),
    external=st.sampled_from(["", "192.0.2.1", "192.0.2.2"]),
) | st.sampled_from([EndpointId("k8s", f"default/{name}", "eth0") for name in NAMES])


@given(st.lists(changes, max_size=25))
def test_shares_depend_on_the_endpoints_there_are_and_every_changed_share_is_told(history):
    claims, shares = Claims(), {}
    for change in history:
        affected = claims.remove(change) if isinstance(change, EndpointId) else claims.put(change)
        fresh = Claims()
        for endpoint_id in reversed(list(claims.ids())):
            fresh.put(claims.get(endpoint_id))
        now = {endpoint_id: fresh.share(endpoint_id) for endpoint_id in fresh.ids()}
        assert {endpoint_id: claims.share(endpoint_id) for endpoint_id in claims.ids()} == now
        assert {e for e, share in now.items() if shares.get(e) != share} <= affected
        shares = now
        taken = [owned for share in now.values() for owned in share.nets]
        assert len(taken) == len(set(taken))


def test_the_lowest_key_wins_and_the_loser_is_told_who_has_it():
    claims = Claims()
    late, early = endpoint("b", "cali1", "10.0.0.1"), endpoint("a", "cali2", "10.0.0.1")
    claims.put(late)
    assert claims.put(early) == {late.id, early.id}
    assert claims.share(early.id).nets == (net("10.0.0.1"),)
    assert claims.share(late.id).nets == ()
    assert claims.share(late.id).problems == ("address 10.0.0.1/32 belongs to WorkloadEndpoint default/a",)


def test_an_endpoint_without_its_interface_keeps_no_address_from_others():
    claims = Claims()
    for update in (
        endpoint("a", "cali1", "10.0.0.9"),
        endpoint("b", "cali1", "10.0.0.1"),
        endpoint("c", "cali2", "10.0.0.1"),
    ):
        claims.put(update)
    assert claims.share(endpoint("b", "cali1").id).problems == (
        "interface cali1 belongs to WorkloadEndpoint default/a",
    )
    assert claims.share(endpoint("c", "cali2").id).nets == (net("10.0.0.1"),)
