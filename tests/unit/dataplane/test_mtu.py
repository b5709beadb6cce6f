"""How long packets of workloads may be."""

from __future__ import annotations

import pytest

from calico.dataplane.encap.mtu import DEFAULT_MTU, host_mtu, tunnel_mtu, workload_mtu
from calico.dataplane.encap.tunnels import TunnelSettings

PATTERN = TunnelSettings().mtu_pattern


def test_the_least_of_the_hosts_own_interfaces_counts() -> None:
    interfaces = [("eth0", 9000), ("enp3s0", 1500), ("docker0", 1000), ("cali1", 900), ("lo", 65536)]
    assert host_mtu(interfaces, PATTERN) == 1500


def test_where_no_interface_matches_what_clouds_carry_is_taken() -> None:
    assert host_mtu([("docker0", 1500), ("eth0", 0)], PATTERN) == DEFAULT_MTU


@pytest.mark.parametrize(("tunnel", "mtu"), [("vxlan4", 1450), ("vxlan6", 1430)])
def test_a_tunnel_takes_what_it_puts_around_packets(tunnel: str, mtu: int) -> None:
    assert tunnel_mtu(tunnel, 1500, 0) == mtu  # type: ignore[arg-type]
    assert tunnel_mtu(tunnel, 1500, 1400) == 1400  # type: ignore[arg-type]


def test_a_tunnel_is_never_too_small_for_its_protocol() -> None:
    assert tunnel_mtu("vxlan4", 600, 0) == 576
    assert tunnel_mtu("vxlan6", 1300, 0) == 1280


def test_workloads_fit_every_way() -> None:
    assert workload_mtu(1500, (1450, 1430)) == 1430
    assert workload_mtu(1500, ()) == 1500
