import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.errors import InvalidInput
from calico.lab.addressing import link_local, plan_layout
from calico.lab.topology import Fabric, Host, Pool, Topology, Workload


def topology(hosts=2, per_host=1, **fields):
    return Topology(
        name="t",
        hosts=tuple(Host(name=f"h{n}") for n in range(hosts)),
        workloads=tuple(Workload(name=f"w{n}-{i}", host=f"h{n}") for n in range(hosts) for i in range(per_host)),
        **fields,
    )


@settings(max_examples=25, deadline=None)
@given(hosts=st.integers(1, 6), per_host=st.integers(0, 80))
def test_every_address_and_mac_of_a_lab_is_its_own(hosts, per_host):
    layout = plan_layout(topology(hosts, per_host))
    addresses = [a for plan in layout.workloads for a in plan.addresses]
    addresses += [a for plan in layout.hosts for a in (plan.uplink.address4, plan.uplink.address6)]
    addresses += [layout.gateway.address4, layout.gateway.address6]
    macs = [plan.mac for plan in layout.workloads] + [plan.uplink.mac for plan in layout.hosts]
    assert len(addresses) == len(set(addresses))
    assert len(macs) == len(set(macs))


def test_the_same_topology_gives_the_same_layout():
    assert plan_layout(topology(3, 2)) == plan_layout(topology(3, 2))


def test_a_workload_gets_an_address_of_each_family_from_its_hosts_blocks():
    layout = plan_layout(topology(2, 1))
    assert layout.hosts[1].blocks == ("10.65.0.64/26", "fd65::40/122")
    assert layout.workloads[1].addresses == ("10.65.0.65", "fd65::41")


def test_a_full_block_goes_on_beyond_the_blocks_of_all_hosts():
    layout = plan_layout(topology(2, 70))
    first_host = [plan.addresses[0] for plan in layout.workloads if plan.workload.host == "h0"]
    own, beyond = ipaddress.ip_network("10.65.0.0/26"), ipaddress.ip_network("10.65.0.128/26")
    assert sum(ipaddress.ip_address(a) in own for a in first_host) == 63
    assert sum(ipaddress.ip_address(a) in beyond for a in first_host) == 7


def test_an_automatic_address_avoids_those_given_by_hand():
    fixed = Workload(name="fixed", host="h0", addresses=("10.65.0.1",))
    free = Workload(name="free", host="h0")
    layout = plan_layout(Topology(name="t", hosts=(Host(name="h0"),), workloads=(free, fixed)))
    assert layout.workloads[0].addresses[0] == "10.65.0.2"
    assert layout.workloads[1].addresses == ("10.65.0.1",)


def test_a_pool_without_room_is_named():
    with pytest.raises(InvalidInput) as caught:
        plan_layout(topology(5, 1, pools=(Pool(cidr="10.1.0.0/25"),)))
    assert "10.1.0.0/25" in str(caught.value)


def test_a_fabric_subnet_without_room_is_refused():
    with pytest.raises(InvalidInput):
        plan_layout(topology(20, 0, fabric=Fabric(subnet="10.9.0.0/28")))


def test_racks_have_subnets_of_their_own_and_hosts_an_as_each():
    hosts = (Host(name="a", rack="r1"), Host(name="b", rack="r1"), Host(name="c", rack="r2"))
    layout = plan_layout(Topology(name="t", fabric=Fabric(type="routed"), hosts=hosts))
    assert [plan.uplink.ip4 for plan in layout.hosts] == ["10.240.0.10/24", "10.240.0.11/24", "10.240.1.10/24"]
    assert [plan.uplink.via4 for plan in layout.hosts] == ["10.240.0.1", "10.240.0.1", "10.240.1.1"]
    assert [rack.inside.address4 for rack in layout.racks] == ["10.240.0.1", "10.240.1.1"]
    assert len({plan.as_number for plan in layout.hosts} | {rack.as_number for rack in layout.racks}) == 5


def test_an_as_number_in_the_file_wins():
    layout = plan_layout(Topology(name="t", hosts=(Host(name="a", as_number=65500), Host(name="b"))))
    assert [plan.as_number for plan in layout.hosts] == [65500, 64512]


def test_interfaces_are_named_as_the_cni_plugin_names_them():
    workload = Workload(name="web1", host="h0")
    (plan,) = plan_layout(Topology(name="t", hosts=(Host(name="h0"),), workloads=(workload,))).workloads
    assert plan.interface == "cali15104693972"  # printf default.web1 | sha1sum


def test_every_namespace_bears_the_labs_name():
    layout = plan_layout(topology(2, 2))
    assert all(netns == f"cl-t-{role}" for role, netns in layout.namespaces().items())


def test_a_link_local_address_is_made_of_the_mac():
    assert link_local("ee:ee:ee:ee:ee:ee") == "fe80::ecee:eeff:feee:eeee"
