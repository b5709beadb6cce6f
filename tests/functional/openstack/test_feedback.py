"""What hosts report, and what Neutron and Nova are told then."""

from __future__ import annotations

import pytest

from functional.openstack.cloud import Cloud, annotation

pytestmark = [pytest.mark.neutron, pytest.mark.timeout(600)]


def test_a_port_is_active_when_its_revision_is_in_the_kernel_and_nova_hears_of_it(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    port = cloud.port(network, host)
    name = cloud.endpoint(port)["metadata"]["name"]
    written = cloud.revision(f"/calico/resources/v3/projectcalico.org/workloadendpoints/openstack/{name}")
    host.applied(written - 1)
    host.endpoint(port, "up")
    asked = lambda: max((ask["revision"] for ask in cloud.stack.stored("/calico/wait/v1/").values()), default=0)  # noqa: E731
    cloud.stack.until("the host is asked for the revision of the endpoint", lambda: asked() >= written)
    assert cloud.status(port) == "DOWN"
    host.applied(asked(), "dataplane-rejected policy x: no")
    host.applied(asked())
    cloud.until_status(port, "ACTIVE")
    cloud.stack.until("Nova hears", lambda: cloud.events(port) == ["network-vif-plugged"])


def test_a_port_goes_down_with_its_endpoint_and_comes_back(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    port = cloud.port(network, host)
    cloud.stack.settle()
    cloud.active(port, host)
    host.endpoint(port, "down")
    cloud.until_status(port, "DOWN")
    cloud.active(port, host)
    host.endpoint(port, "error")
    cloud.until_status(port, "ERROR")
    host.endpoint(port, "")
    cloud.until_status(port, "DOWN")


def test_a_host_whose_lease_expires_takes_no_more_ports_at_once(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    assert cloud.port(network, host)["binding:vif_type"] == "tap"
    host.die()
    cloud.stack.until("the agent is dead", lambda: not host.agent()["alive"])
    assert cloud.port(network, host)["binding:vif_type"] == "binding_failed"
    host.report()
    assert cloud.port(network, host)["binding:vif_type"] == "tap"


def test_a_live_migration_by_profile_has_both_endpoints_and_tells_nova_when_the_target_is_ready(cloud: Cloud) -> None:
    source, target = cloud.host(), cloud.host()
    network, _ = cloud.network()
    port = cloud.port(network, source)
    cloud.stack.settle()
    cloud.active(port, source)
    cloud.stack.until("Nova hears of the source", lambda: cloud.events(port) == ["network-vif-plugged"])
    cloud.api.update("port", port["id"], **{"binding:profile": {"migrating_to": target.name}})
    endpoints = cloud.endpoints(port)
    assert set(endpoints) == {source.name, target.name}
    name = endpoints[target.name]["metadata"]["name"]
    migration = cloud.stack.resources("livemigrations")[name]["spec"]
    assert migration["source"]["workloadEndpoint"]["hostname"] == source.name
    with target.answers():
        target.endpoint(port, "up")
        cloud.stack.until(
            "Nova hears that the target is ready", lambda: cloud.events(port).count("network-vif-plugged") >= 2
        )  # once more where Neutron, too, found the port active anew after its binding changed
    cloud.until_status(port, "ACTIVE")
    cloud.api.update("port", port["id"], **{"binding:host_id": target.name, "binding:profile": {}})
    assert set(cloud.endpoints(port)) == {target.name}
    assert name not in cloud.stack.resources("livemigrations")
    cloud.active(port, target)


def test_a_live_migration_by_two_bindings_moves_with_the_active_one(cloud: Cloud) -> None:
    source, target = cloud.host(), cloud.host()
    network, _ = cloud.network()
    port = cloud.port(network, source)
    binding = {"host": target.name, "vnic_type": "normal", "profile": {}}
    cloud.api.create(f"ports/{port['id']}/bindings:binding", **binding)
    assert set(cloud.endpoints(port)) == {source.name, target.name}
    cloud.api.call("PUT", f"ports/{port['id']}/bindings/{target.name}/activate")
    cloud.api.call("DELETE", f"ports/{port['id']}/bindings/{source.name}")
    assert set(cloud.endpoints(port)) == {target.name}
    assert cloud.stack.resources("livemigrations").get(cloud.endpoint(port)["metadata"]["name"]) is None


def test_a_port_that_cannot_work_as_it_is_asked_for_is_in_error_until_it_can(cloud: Cloud) -> None:
    host = cloud.host()
    network, _ = cloud.network()
    port = cloud.port(network, host)
    cloud.stack.settle()
    cloud.active(port, host)
    table = "allowedaddresspairs"  # past the API, which checks them
    mac = port["mac_address"]
    cloud.stack.database.ask(
        f"INSERT INTO {table} (port_id, mac_address, ip_address) VALUES ('{port['id']}', '{mac}', 'x')"
    )
    cloud.api.update("port", port["id"], name="wrong")
    cloud.until_status(port, "ERROR")
    assert "address-invalid" in annotation(cloud.endpoint(port), "problems")
    cloud.stack.database.ask(f"DELETE FROM {table} WHERE port_id = '{port['id']}'")
    with host.answers():
        cloud.api.update("port", port["id"], name="right")
        cloud.until_status(port, "ACTIVE")
