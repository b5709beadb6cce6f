"""What an attachment is given and gives back, beside its container's other interfaces and other hosts."""

from __future__ import annotations

import pytest

from allocation.cluster import Cluster
from calico.orchestrators.cni.addresses.source import OwnAddresses, Wish
from calico.orchestrators.cni.protocol.fault import PluginError
from calico.orchestrators.cni.workload.names import Attached

ETH0 = Attached(network="net", container_id="0123456789abcdef", interface="eth0", node="a")
ETH1 = Attached(network="net", container_id="0123456789abcdef", interface="eth1", node="a")


@pytest.fixture
async def cluster() -> Cluster:
    made = await Cluster().hosts(a={}, b={})
    await made.pool("p", "10.0.0.0/24", block_size=28)
    return made


@pytest.mark.parametrize("wish", [Wish(v4=1, v6=1), Wish(exactly=("10.0.0.100", "10.9.9.9"))])
async def test_a_second_interface_that_gets_no_address_takes_none_from_the_first(cluster: Cluster, wish: Wish) -> None:
    source = OwnAddresses(cluster.allocator)
    first = await source.assign(ETH0, Wish())
    with pytest.raises(Exception, match=r"10\.9\.9\.9|IPv6"):
        await source.assign(ETH1, wish)
    assert await source.held(ETH0) == {first.ips[0].address.partition("/")[0]}


async def test_an_address_that_the_first_interface_has_stays_when_the_second_asks_for_it(cluster: Cluster) -> None:
    source = OwnAddresses(cluster.allocator)
    await source.assign(ETH0, Wish(exactly=("10.0.0.5",)))
    with pytest.raises(PluginError, match="given out"):
        await source.assign(ETH1, Wish(exactly=("10.0.0.5",)))
    assert await source.held(ETH0) == {"10.0.0.5"}


async def test_a_container_frees_nothing_of_another_hosts_that_has_the_same_id(cluster: Cluster) -> None:
    source = OwnAddresses(cluster.allocator)
    here, there = (Attached(network="net", container_id="default-web", interface="eth0", node=n) for n in "ab")
    await source.assign(here, Wish())
    kept = await source.assign(there, Wish())
    await source.release(here)
    assert await source.held(there) == {kept.ips[0].address.partition("/")[0]}
