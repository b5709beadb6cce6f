"""Bandwidth of workloads on a real kernel, with tc as an independent reader, and with packets."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys

import pytest

from calico.calc.messages import EndpointId, QoS
from calico.dataplane.bandwidth.qdiscs import QdiscTable
from calico.dataplane.bandwidth.redirectdriver import IFB_PREFIX, PROBE, ifb_name
from calico.dataplane.netns import in_netns
from calico.netlink.socket import NETLINK_ROUTE, NetlinkSocket

GROUP_TC = 4
IN = QoS(ingress_bandwidth=8_000_000, ingress_burst=800_000)
BOTH = QoS(ingress_bandwidth=8_000_000, ingress_burst=800_000, egress_bandwidth=16_000_000, egress_burst=1_600_000)
PACKETS, SIZE = 400, 1000


@pytest.fixture
def tc(host):
    """tc in the host: reads what we wrote, and is somebody else who changes things."""

    def run(*arguments, check=True):
        command = ["nsenter", f"--net=/run/netns/{host.name}", "tc", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=check).stdout

    return run


@pytest.fixture
def applied(felix):
    """Bring a fresh manager to these endpoints; its reasons by endpoint name."""

    def run(*updates, **options):
        async def scenario(daemon):
            for update in updates:
                daemon.manager.on_endpoint(update)
            await daemon.apply()
            return {update.id.workload.partition("/")[2]: daemon.reasons(update.id.workload[8:]) for update in updates}

        return felix(scenario, **options)

    return run


def root(tc, name):
    return next(line for line in tc("qdisc", "show", "dev", name).splitlines() if " root " in line)


def test_tc_shows_the_bucket_towards_the_workload(host, tc, applied, endpoint):
    host.workload(1, address="10.1.0.1")
    fast = QoS(ingress_bandwidth=8_000_000, ingress_burst=800_000, ingress_peakrate=16_000_000, ingress_minburst=2000)
    applied(endpoint("w1", "cali1", "10.1.0.1", qos=fast))
    shown = root(tc, "cali1")
    assert "qdisc tbf ca1c: root" in shown
    assert "rate 8Mbit burst 100000b peakrate 16Mbit minburst 2000b" in shown
    detail = tc("-s", "-d", "qdisc", "show", "dev", "cali1")
    assert "linklayer ethernet" in detail
    applied(endpoint("w1", "cali1", "10.1.0.1", qos=QoS(ingress_bandwidth=10**15, ingress_burst=34359738360)))
    assert "rate 1000Tbit" in root(tc, "cali1")
    applied(endpoint("w1", "cali1", "10.1.0.1"))
    assert "tbf" not in root(tc, "cali1")


def test_tc_shows_the_way_from_the_workload_through_its_ifb(host, tc, applied, endpoint):
    host.workload(1, address="10.1.0.1")
    applied(endpoint("w1", "cali1", "10.1.0.1", qos=BOTH))
    ifb = ifb_name("cali1")
    assert "rate 16Mbit burst 200000b limit 128Kb" in root(tc, ifb)
    assert f"Egress Redirect to device {ifb}) stolen" in tc("filter", "show", "dev", "cali1", "parent", "ffff:")
    assert host.links.get(ifb).up
    applied(endpoint("w1", "cali1", "10.1.0.1", qos=IN))
    assert IFB_PREFIX not in host.ip("link")
    assert "ingress" not in tc("qdisc", "show", "dev", "cali1")
    assert "rate 8Mbit" in root(tc, "cali1")


def test_another_run_finds_everything_as_it_was_and_writes_nothing(host, applied, endpoint):
    host.workload(1, address="10.1.0.1")
    host.workload(2, address="10.1.0.2")
    slow = QoS(ingress_bandwidth=1000, ingress_burst=4294967296, egress_bandwidth=10**15, egress_burst=34359738360,
               egress_peakrate=1010 * 10**12, egress_minburst=10**8)  # fmt: skip
    updates = [endpoint("w1", "cali1", "10.1.0.1", qos=BOTH), endpoint("w2", "cali2", "10.1.0.2", qos=slow)]
    applied(*updates)
    before = {(link.index, link.name) for link in host.links.all()}
    with in_netns(host.name, lambda: NetlinkSocket(NETLINK_ROUTE, groups=(GROUP_TC,))) as watcher:
        applied(*updates)
        probed = {message.payload[4:8] for message in watcher.drain()}
    assert not probed & {index.to_bytes(4, sys.byteorder) for index, _ in before}  # but of the trial's device
    assert {(link.index, link.name) for link in host.links.all()} == before


def test_what_an_earlier_run_left_is_removed_and_what_is_of_others_stays(host, tc, applied, endpoint):
    for number in (1, 2, 3):
        host.workload(number, address=f"10.1.0.{number}")
    host.links.create_veth("eth7", "eth8")
    applied(*(endpoint(f"w{n}", f"cali{n}", f"10.1.0.{n}", qos=BOTH) for n in (1, 2)))
    host.ip("link", "del", "cali2")
    tbf = ("tbf", "rate", "1mbit", "burst", "10kb", "limit", "10kb")
    tc("qdisc", "add", "dev", "eth7", "root", "handle", "ca1c:", *tbf)
    tc("qdisc", "add", "dev", "cali3", "root", "handle", "7:", *tbf)
    host.ip("link", "add", "ifb9", "type", "ifb")
    applied()
    assert "tbf" not in root(tc, "cali1")
    assert "ingress" not in tc("qdisc", "show", "dev", "cali1")
    assert IFB_PREFIX not in host.ip("link")
    assert "tbf ca1c:" in root(tc, "eth7")
    assert "tbf 7:" in root(tc, "cali3")
    assert "ifb9" in host.ip("link")


def test_a_root_of_somebody_else_is_left_alone_and_named(host, tc, felix, endpoint):
    host.workload(1, address="10.1.0.1")
    tc("qdisc", "add", "dev", "cali1", "root", "handle", "7:", "htb")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("w1", "cali1", "10.1.0.1", qos=IN))
        await daemon.settle()
        assert daemon.state("w1") == "error"
        assert "somebody else" in daemon.reasons("w1")
        assert "htb 7:" in root(tc, "cali1")
        assert daemon.manager.pending
        tc("qdisc", "del", "dev", "cali1", "root")
        await daemon.apply()
        assert daemon.state("w1") == "up"
        assert "tbf ca1c:" in root(tc, "cali1")

    felix(scenario)


def test_filters_of_somebody_else_stay_when_ours_goes(host, tc, applied, endpoint):
    host.workload(1, address="10.1.0.1")
    host.ip("link", "add", "ifb9", "type", "ifb")
    tc("qdisc", "add", "dev", "cali1", "ingress")
    tc(
        "filter",
        "add",
        "dev",
        "cali1",
        "parent",
        "ffff:",
        "protocol",
        "ip",
        "prio",
        "5",
        "u32",
        "match",
        "u32",
        "0",
        "0",
    )
    applied(endpoint("w1", "cali1", "10.1.0.1", qos=BOTH))
    assert ifb_name("cali1") in tc("filter", "show", "dev", "cali1", "parent", "ffff:")
    applied(endpoint("w1", "cali1", "10.1.0.1"))
    shown = tc("filter", "show", "dev", "cali1", "parent", "ffff:")
    assert "pref 5 u32" in shown
    assert "mirred" not in shown


def test_a_clsact_of_somebody_else_is_named(host, tc, applied, endpoint):
    host.workload(1, address="10.1.0.1")
    tc("qdisc", "add", "dev", "cali1", "clsact")
    reasons = applied(endpoint("w1", "cali1", "10.1.0.1", qos=BOTH))
    assert "bandwidth from the workload" in reasons["w1"]
    assert "clsact" in tc("qdisc", "show", "dev", "cali1")


def test_an_interface_that_comes_back_is_shaped_again(host, tc, felix, endpoint):
    host.workload(1, address="10.1.0.1")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("w1", "cali1", "10.1.0.1", qos=BOTH))
        await daemon.settle()
        host.ip("link", "del", "cali1")
        await daemon.apply()
        assert IFB_PREFIX not in host.ip("link")
        host.wire(1, address="10.1.0.1")
        await daemon.apply()
        await daemon.settle()
        assert "tbf ca1c:" in root(tc, "cali1")
        assert ifb_name("cali1") in tc("filter", "show", "dev", "cali1", "parent", "ffff:")

    felix(scenario)


def test_an_interface_that_is_replaced_between_two_applies_is_shaped_again(host, tc, felix, endpoint):
    host.workload(1, address="10.1.0.1")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("w1", "cali1", "10.1.0.1", qos=BOTH))
        await daemon.settle()
        host.ip("link", "del", "cali1")
        host.wire(1, address="10.1.0.1")
        await daemon.apply()
        await daemon.settle()
        assert "tbf ca1c:" in root(tc, "cali1")
        assert "rate 16Mbit" in root(tc, ifb_name("cali1"))
        assert ifb_name("cali1") in tc("filter", "show", "dev", "cali1", "parent", "ffff:")

    felix(scenario)


def test_what_somebody_removed_or_changed_is_repaired_when_it_is_read_back(host, tc, felix, endpoint):
    host.workload(1, address="10.1.0.1")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("w1", "cali1", "10.1.0.1", qos=BOTH))
        await daemon.settle()
        tc("qdisc", "del", "dev", "cali1", "root")
        tc("qdisc", "del", "dev", "cali1", "ingress")
        tc("qdisc", "change", "dev", ifb_name("cali1"), "root", "handle", "ca1c:", "tbf", "rate", "1mbit",
           "burst", "10kb", "limit", "10kb")  # fmt: skip
        daemon.manager.resync()
        await daemon.apply()
        assert "tbf ca1c:" in root(tc, "cali1")
        assert "rate 16Mbit" in root(tc, ifb_name("cali1"))
        assert ifb_name("cali1") in tc("filter", "show", "dev", "cali1", "parent", "ffff:")
        host.ip("link", "del", ifb_name("cali1"))
        daemon.manager.resync()
        await daemon.apply()
        assert ifb_name("cali1") in tc("filter", "show", "dev", "cali1", "parent", "ffff:")

    felix(scenario)


def test_a_larger_mtu_makes_the_least_bucket_larger(host, tc, felix, endpoint):
    host.workload(1, address="10.1.0.1")
    least = QoS(ingress_bandwidth=8_000_000, ingress_burst=1000)

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("w1", "cali1", "10.1.0.1", qos=least))
        await daemon.settle()
        assert "burst 151" in root(tc, "cali1")
        host.ip("link", "set", "cali1", "mtu", "9000")
        await daemon.until(lambda: "burst 901" in root(tc, "cali1"))

    felix(scenario)


def test_the_kernel_is_tried_out_once_and_nothing_is_left_of_the_trial(host):
    def trial():
        with NetlinkSocket(NETLINK_ROUTE) as sock:
            table = QdiscTable(sock)
            return table.can_shape_egress(), table.can_shape_egress()

    assert in_netns(host.name, trial) == (True, True)
    assert IFB_PREFIX not in host.ip("link")
    host.ip("link", "add", PROBE, "type", "ifb")  # of a run that was stopped in the middle
    assert in_netns(host.name, trial) == (True, True)
    assert IFB_PREFIX not in host.ip("link")
    host.ip("link", "add", PROBE, "type", "veth")  # so that it cannot be tried out
    assert in_netns(host.name, trial) == (False, False)


def test_without_redirection_what_comes_from_workloads_is_left_to_others(host, tc, applied, endpoint):
    host.workload(1, address="10.1.0.1")
    host.ip("link", "add", PROBE, "type", "veth")
    assert applied(endpoint("w1", "cali1", "10.1.0.1", qos=BOTH))["w1"] in ("", "interface cali1 is not up")
    assert "tbf ca1c:" in root(tc, "cali1")
    assert "ingress" not in tc("qdisc", "show", "dev", "cali1")


def count(host, source, target, address):
    """How many of many packets, sent at once from one namespace to another, arrive before it is quiet."""

    def receiver():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        sock.bind((address, 7000))
        return sock

    with in_netns(target, receiver) as received, in_netns(source, lambda: socket.socket(type=socket.SOCK_DGRAM)) as out:
        received.settimeout(0.3)
        out.setsockopt(socket.SOL_SOCKET, 32, 16 << 20)  # SO_SNDBUFFORCE: the sender itself never waits
        for _ in range(PACKETS):
            with contextlib.suppress(OSError):
                out.sendto(bytes(SIZE - 28), (address, 7000))
        arrived = 0
        with contextlib.suppress(TimeoutError):
            while True:
                received.recv(2048)
                arrived += 1
    return arrived


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_slow_bucket_lets_its_burst_pass_and_holds_the_rest_back(host, felix, endpoint, direction):
    """8 kbit/s is one of these packets each second; 50 of them are in the bucket, the frames being 14 bytes longer."""
    one, two = host.workload(1, address="10.1.0.1"), host.workload(2, address="10.1.0.2")
    slow = QoS(**{f"{direction}_bandwidth": 8000, f"{direction}_burst": 50 * (SIZE + 14) * 8})

    async def scenario(daemon):
        def limit(first, second):
            daemon.manager.on_endpoint(endpoint("w1", "cali1", "10.1.0.1", qos=first))
            daemon.manager.on_endpoint(endpoint("w2", "cali2", "10.1.0.2", qos=second))

        def sent():
            return count(host, one, two, "10.1.0.2")

        limit(None, None)
        await daemon.settle()
        assert sent() == PACKETS
        limit(slow if direction == "egress" else None, slow if direction == "ingress" else None)
        await daemon.apply()
        assert count(host, two, one, "10.1.0.1") == PACKETS
        assert 45 <= sent() <= 55
        limit(None, None)
        await daemon.apply()
        assert sent() == PACKETS

    felix(scenario)


def test_packets_wait_for_a_bucket_that_fills_fast(host, felix, endpoint):
    """100 kB wait in a queue of 128 KiB, and all arrive."""
    one, two = host.workload(1, address="10.1.0.1"), host.workload(2, address="10.1.0.2")
    fast = QoS(ingress_bandwidth=40_000_000, ingress_burst=100 * 1014 * 8)

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("w1", "cali1", "10.1.0.1"))
        daemon.manager.on_endpoint(endpoint("w2", "cali2", "10.1.0.2", qos=fast))
        await daemon.settle()
        assert 200 <= count(host, one, two, "10.1.0.2") < PACKETS

    felix(scenario)


def test_the_shape_goes_with_the_endpoint(host, tc, felix, endpoint):
    host.workload(1, address="10.1.0.1")

    async def scenario(daemon):
        daemon.manager.on_endpoint(endpoint("w1", "cali1", "10.1.0.1", qos=BOTH))
        await daemon.settle()
        daemon.manager.on_endpoint_removed(EndpointId("k8s", "default/w1", "eth0"))
        await daemon.apply()
        assert "tbf" not in root(tc, "cali1")
        assert IFB_PREFIX not in host.ip("link")

    felix(scenario)
