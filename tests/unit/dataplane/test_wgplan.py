"""Plans for a WireGuard device: played against what the kernel's documentation says it does with them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calico.dataplane.encap.wgplan import plan_device
from calico.lib.packed import addr_bytes, net
from calico.netlink.wireguard import DeviceChange, Endpoint, PeerChange, WgDevice, WgPeer

A, B, C = (bytes([n]) * 32 for n in range(3))
NETS = [net(text) for text in ("10.65.0.0/26", "10.65.1.0/26", "10.65.1.9/32", "10.65.2.0/26")]


def carried_out(change: DeviceChange, device: WgDevice) -> WgDevice:
    """The device after a change, as linux/wireguard.h describes it; nobody has a network twice."""
    peers = {key: (peer.endpoint, peer.keepalive_s, set(peer.nets)) for key, peer in device.peers.items()}
    for item in change.peers:
        if item.remove:
            peers.pop(item.key, None)
            continue
        endpoint, keepalive, nets = peers.get(item.key, (None, 0, set()))
        if item.replace:
            nets = set()
        for _, _, others in peers.values():
            others -= set(item.nets)
        peers[item.key] = (
            item.endpoint or endpoint,
            keepalive if item.keepalive_s is None else item.keepalive_s,
            nets | set(item.nets),
        )
    return WgDevice(
        private_key=device.private_key if change.private_key is None else change.private_key,
        port=device.port if change.port is None else change.port,
        mark=device.mark if change.mark is None else change.mark,
        peers={
            key: WgPeer(endpoint=endpoint, keepalive_s=keepalive, nets=frozenset(nets))
            for key, (endpoint, keepalive, nets) in peers.items()
        },
    )


def device(owners: dict[bytes, bytes], peers: set[bytes], port: int, keepalive: int) -> WgDevice:
    return WgDevice(
        private_key=bytes([port % 256]) * 32,
        port=port,
        mark=1 << 18,
        peers={
            key: WgPeer(
                endpoint=Endpoint(bytes(4), port),
                keepalive_s=keepalive,
                nets=frozenset(of for of, owner in owners.items() if owner == key),
            )
            for key in peers
        },
    )


DEVICES = st.builds(
    device,
    st.dictionaries(st.sampled_from(NETS), st.sampled_from((A, B, C))),
    st.sets(st.sampled_from((A, B, C))),
    st.sampled_from((51820, 51821)),
    st.sampled_from((0, 25)),
)


@given(wanted=DEVICES, found=DEVICES)
def test_a_plan_that_is_carried_out_leaves_what_is_wanted(wanted: WgDevice, found: WgDevice) -> None:
    after = carried_out(plan_device(wanted, found), found)
    assert after == wanted
    assert not plan_device(wanted, after)


@given(wanted=DEVICES, found=DEVICES)
def test_a_device_that_is_new_gets_everything(wanted: WgDevice, found: WgDevice) -> None:
    assert carried_out(plan_device(wanted, WgDevice()), WgDevice()) == wanted


def test_one_more_network_of_a_peer_is_one_network_in_the_plan() -> None:
    found = WgDevice(peers={A: WgPeer(nets=frozenset(NETS[:2])), B: WgPeer()})
    wanted = WgDevice(peers={A: WgPeer(nets=frozenset(NETS[:3])), B: WgPeer()})
    assert plan_device(wanted, found).peers == (PeerChange(key=A, nets=(NETS[2],)),)
    assert plan_device(wanted, found, peers=[A]) == plan_device(wanted, found)


def test_a_network_that_moves_is_taken_by_its_new_peer_alone() -> None:
    found = WgDevice(peers={A: WgPeer(nets=frozenset(NETS[:2])), B: WgPeer()})
    wanted = WgDevice(peers={A: WgPeer(nets=frozenset(NETS[:1])), B: WgPeer(nets=frozenset(NETS[1:2]))})
    assert plan_device(wanted, found).peers == (PeerChange(key=B, nets=(NETS[1],)),)


def test_a_peer_that_roamed_is_led_back_to_its_node() -> None:
    home, away = Endpoint(addr_bytes("192.0.2.2"), 51820), Endpoint(addr_bytes("203.0.113.9"), 4)
    plan = plan_device(WgDevice(peers={A: WgPeer(endpoint=home)}), WgDevice(peers={A: WgPeer(endpoint=away)}))
    assert plan.peers == (PeerChange(key=A, endpoint=home),)
