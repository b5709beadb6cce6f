"""Names of endpoints, host interfaces and handles."""

from __future__ import annotations

import hashlib

import pytest

from calico.errors import InvalidInput
from calico.orchestrators.cni.workload.names import Attached

ID = "0123456789abcdef" * 4
CONTAINER = Attached(network="net", container_id=ID, interface="eth0", node="node-1")
POD = Attached(network="net", container_id="cd", interface="eth0", node="node-1", namespace="shop", pod="web-0")


def test_a_containers_names_come_from_its_id() -> None:
    assert CONTAINER.endpoint_name == f"node--1-cni-{ID}-eth0"
    assert CONTAINER.host_interface() == "cali0123456789a"
    assert CONTAINER.handle == f"net.{ID}"
    assert CONTAINER.key.namespace == "default"


def test_a_pods_names_are_the_same_for_every_sandbox_but_its_handle_is_not() -> None:
    digest = hashlib.sha1(b"shop.web-0", usedforsecurity=False).hexdigest()
    assert POD.endpoint_name == "node--1-k8s-web--0-eth0"
    assert POD.host_interface() == "cali" + digest[:11]
    assert POD.handle == "net.cd"
    assert POD.key.namespace == "shop"


def test_the_same_chosen_id_on_two_hosts_or_in_two_networks_is_two_handles() -> None:
    places = [("net", "web", "a"), ("net", "web", "b"), ("net.web", "1", "a"), ("net", "web.1", "a")]
    handles = {Attached(network=n, container_id=c, interface="eth0", node=h).handle for n, c, h in places}
    assert len(handles) == len(places)


def test_a_second_interface_of_a_container_has_a_cable_of_its_own() -> None:
    second = Attached(network="net", container_id=ID, interface="net1", node="n")
    assert second.host_interface() != CONTAINER.host_interface()
    assert len(second.host_interface()) == 15


def test_a_name_that_no_endpoint_can_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match="dash"):
        _ = Attached(network="net", container_id=ID, interface="eth0", node="n-").endpoint_name
    with pytest.raises(InvalidInput, match="longer"):
        CONTAINER.host_interface("calico")
