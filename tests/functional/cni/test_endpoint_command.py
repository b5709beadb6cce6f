"""``calico endpoint``: namespaces and devices that no runtime starts, on a host with a real Felix."""

from __future__ import annotations

import json

from cni_world import NOTHING, World


def test_a_namespace_is_plugged_in_listed_and_taken_out(world: World) -> None:
    machine, container = world.container(), world.container()
    done = world.calico("endpoint", "add", "web-1", "--netns", machine.netns, "--network", "net", "--ipv6",
                        "--label", "role=web", "-o", "json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert {address.partition("/")[0] for address in made["addresses"]} == machine.addresses
    (endpoint,) = world.endpoints.values()
    assert endpoint["metadata"]["labels"]["role"] == "web"
    with machine.receives(7000) as receiver:
        container.add()  # of the same network
        assert container.sends_datagram(made["addresses"][0].partition("/")[0], 7000, receiver)
    listed = world.calico("endpoint", "list")
    assert "web-1" in listed.stdout
    assert made["hostInterface"] in listed.stdout
    again = world.calico("endpoint", "add", "web-1", "--netns", machine.netns)
    assert again.returncode == 1
    assert "web-1 is attached already" in again.stderr
    gc = container.call("GC", **{"cni.dev/valid-attachments": [{"containerID": container.identity, "ifname": "eth0"}]})
    assert gc.code == 0
    assert len(world.endpoints) == 2, "a GC of the network must not take what was plugged in by hand"
    assert world.calico("endpoint", "remove", "web-1").returncode == 0
    container.delete()
    assert world.leftovers == NOTHING
    assert world.calico("endpoint", "remove", "web-1").returncode == 1


def test_machines_whose_names_begin_alike_have_cables_of_their_own(world: World) -> None:
    for name in ("database-server-1", "database-server-2"):
        done = world.calico("endpoint", "add", name, "--netns", world.container().path)
        assert done.returncode == 0, done.stderr
    assert len(world.cables) == 2
    for name in ("database-server-1", "database-server-2"):
        assert world.calico("endpoint", "remove", name).returncode == 0
    assert world.leftovers == NOTHING


def test_a_tap_device_is_plugged_in_and_stays_when_it_is_taken_out(world: World) -> None:
    world.ip(world.host, "tuntap add calitap0 mode tap")
    try:
        done = world.calico("endpoint", "add", "vm-1", "--tap", "calitap0", "--ip", "10.77.0.40", "--mac",
                            "02:00:00:00:00:40", "--policy-timeout", "0.3", "-o", "json")  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "name": "vm-1",
            "hostInterface": "calitap0",
            "mac": "02:00:00:00:00:40",
            "addresses": ["10.77.0.40/32"],
            "gateways": ["169.254.1.1"],
        }
        (endpoint,) = world.endpoints.values()
        assert endpoint["spec"]["interfaceName"] == "calitap0"
        assert world.calico("endpoint", "remove", "vm-1").returncode == 0
        world.ip(world.host, "link show calitap0")
        assert world.leftovers == NOTHING
    finally:
        world.ip(world.host, "link del calitap0")


def test_a_device_that_felix_would_not_look_after_is_refused(world: World) -> None:
    world.ip(world.host, "tuntap add vnet0 mode tap")
    try:
        done = world.calico("endpoint", "add", "vm-1", "--tap", "vnet0")
        assert done.returncode == 1
        assert "must begin with 'cali'" in done.stderr
    finally:
        world.ip(world.host, "link del vnet0")
    assert world.leftovers == NOTHING


def test_a_device_of_somebody_else_stays_whatever_kind_and_state_it_has(world: World) -> None:
    world.ip(world.host, "link add calivm0 type veth peer name vm0")
    try:
        refused = world.calico("endpoint", "add", "vm-1", "--tap", "calivm0", "--ip", "203.0.113.9")
        assert refused.returncode == 1
        world.ip(world.host, "link show calivm0")
        done = world.calico("endpoint", "add", "vm-1", "--tap", "calivm0", "--policy-timeout", "0.3")
        assert done.returncode == 0, done.stderr
        world.ip(world.host, "link set calivm0 down")
        assert world.calico("endpoint", "remove", "vm-1").returncode == 0
        world.ip(world.host, "link show calivm0")
    finally:
        world.ip(world.host, "link del calivm0")
    assert world.leftovers == NOTHING


def test_a_name_that_is_in_use_is_not_taken_from_its_namespace(world: World) -> None:
    first, second = world.container(), world.container()
    assert world.calico("endpoint", "add", "web-1", "--netns", first.path).returncode == 0
    had = first.addresses
    refused = world.calico("endpoint", "add", "web-1", "--netns", second.path)
    assert refused.returncode == 1
    assert "web-1 is attached already" in refused.stderr
    assert had
    assert first.addresses == had
    assert world.calico("endpoint", "remove", "web-1").returncode == 0
    assert world.leftovers == NOTHING


def test_an_endpoint_whose_profiles_were_changed_leaves_no_address_behind(world: World) -> None:
    assert world.calico("endpoint", "add", "web-1", "--netns", world.container().path).returncode == 0
    ((name, endpoint),) = world.endpoints.items()
    endpoint["spec"]["profiles"] = ["projectcalico-default-allow"]
    key = f"/calico/resources/v3/projectcalico.org/workloadendpoints/default/{name.rpartition('/')[2]}"
    world.etcdctl("put", key, stdin=json.dumps(endpoint))
    assert world.calico("endpoint", "remove", "web-1").returncode == 0
    assert world.leftovers == NOTHING
