"""Real DHCP clients of Debian in instances that no policy lets say anything else."""

from __future__ import annotations

from compute_world import ComputeWorld


def test_busybox_learns_all_of_its_lease(host: ComputeWorld) -> None:
    lease = host.dhcp4("a")
    assert lease["ip"] == host.instances["a"].v4
    assert lease["subnet"] == "255.255.255.0"
    assert lease["router"] == "10.65.0.1"
    assert lease["dns"] == "10.0.0.53"
    assert lease["mtu"] == "1400"
    assert lease["hostname"] == "a"
    assert lease["domain"] == "cloud.example"
    assert lease["serverid"] == "10.65.0.1"
    assert "192.0.2.0/24 10.65.0.1" in lease["staticroutes"]
    assert "169.254.169.254/32 10.65.0.1" in lease["staticroutes"]
