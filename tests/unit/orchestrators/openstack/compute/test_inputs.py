from __future__ import annotations

import json
from typing import Any

from calico.datastore.api import SyncStatus, Update
from calico.obs.conditions import Conditions
from calico.orchestrators.openstack.compute.inputs import Inputs, prefixes
from calico.orchestrators.openstack.compute.view import Known
from calico.orchestrators.openstack.records import EndpointRecord

ENDPOINTS, SUBNETS = prefixes("host-1", "")
KEY = f"{ENDPOINTS}d1-p1"
TAP = "tapp1"


class Told:
    def __init__(self, known: Known | None = None) -> None:
        self.changes: list[set[str]] = []
        self.conditions = Conditions()
        self.inputs = Inputs("host-1", "", known or Known(), self.conditions, self.changes.append)

    def put(self, key: str, value: dict[str, Any] | bytes | None) -> None:
        raw = json.dumps(value).encode() if isinstance(value, dict) else value
        self.inputs.on_updates([Update(key, raw, 5)], 5)

    def endpoint(self, interface: str = TAP) -> None:
        spec = {
            "node": "host-1",
            "workload": "d1",
            "endpoint": "p1",
            "interfaceName": interface,
            "mac": "fa:16:3e:0:0:1",
        }
        notes = {"openstack.projectcalico.org/network-id": "n"}
        self.put(KEY, {"metadata": {"annotations": notes}, "spec": spec})


def known(interface: str) -> Known:
    record = EndpointRecord(namespace="", host="", device_id="d0", port_id="p0", interface=interface, mac="")
    return Known({KEY: record})


def test_the_keys_watched_are_this_hosts_endpoints_and_the_regions_subnets() -> None:
    root = "/calico/resources/v3/projectcalico.org/workloadendpoints"
    assert prefixes("host-1", "") == (f"{root}/openstack/host--1-openstack-", "/calico/dhcp/v2/no-region/subnet/")
    assert prefixes("h", "r1") == (f"{root}/openstack-region-r1/h-openstack-", "/calico/dhcp/v2/region-r1/subnet/")


def test_until_the_first_complete_view_what_was_on_disk_counts_and_then_only_the_datastore() -> None:
    told = Told(known("tapold"))
    told.endpoint()
    assert told.inputs.view.port("tapold")
    assert not told.inputs.view.port(TAP)
    assert told.changes == []
    told.inputs.on_status(SyncStatus.IN_SYNC)
    assert told.changes == [{"tapold", TAP}]
    assert not told.inputs.view.port("tapold")
    assert told.inputs.view.port(TAP)


def test_later_changes_count_at_once_also_when_the_datastore_is_away_in_between() -> None:
    told = Told()
    told.inputs.on_status(SyncStatus.IN_SYNC)
    told.endpoint()
    told.inputs.on_status(SyncStatus.HELD, "looks emptied")
    assert told.inputs.view.port(TAP)
    assert [c.code for c in told.conditions] == ["datastore-held"]
    told.inputs.on_status(SyncStatus.IN_SYNC)
    told.put(KEY, None)
    assert not told.inputs.view.port(TAP)
    assert told.changes[-1] == {TAP}


def test_a_subnet_concerns_the_interfaces_on_its_network() -> None:
    told = Told()
    told.inputs.on_status(SyncStatus.IN_SYNC)
    told.endpoint()
    told.put(f"{SUBNETS}s1", {"network_id": "n", "cidr": "10.0.0.0/24"})
    assert told.changes[-1] == {TAP}
    port = told.inputs.view.port(TAP)
    assert port is not None
    assert list(told.inputs.view.subnets(port)) == ["s1"]


def test_the_project_is_taken_from_the_label_where_no_annotation_names_it() -> None:
    told = Told()
    told.inputs.on_status(SyncStatus.IN_SYNC)
    label, note = {"projectcalico.org/openstack-project-id": "of-label"}, "openstack.projectcalico.org/project-id"
    for noted, project in (({}, "of-label"), ({note: "of-note"}, "of-note")):
        told.put(KEY, {"metadata": {"labels": label, "annotations": noted}, "spec": {"interfaceName": TAP}})
        port = told.inputs.view.port(TAP)
        assert port is not None
        assert port.project_id == project


def test_one_bad_object_is_named_and_stops_no_other() -> None:
    told = Told()
    told.inputs.on_status(SyncStatus.IN_SYNC)
    told.put(f"{SUBNETS}bad", b"{")
    told.put(f"{SUBNETS}odd", {"network_id": "n", "cidr": "junk"})
    told.put(f"{ENDPOINTS}d9-p9", b"\xff")
    told.endpoint()
    assert told.inputs.view.port(TAP)
    objects = [c.object for c in told.conditions if c.code == "resource-invalid"]
    assert objects == ["WorkloadEndpoint openstack/host--1-openstack-d9-p9", "subnet bad", "subnet odd"]
    for key in (f"{SUBNETS}bad", f"{SUBNETS}odd", f"{ENDPOINTS}d9-p9"):
        told.put(key, None)
    assert list(told.conditions) == []


def test_another_hosts_endpoint_whose_key_begins_alike_is_left_alone() -> None:
    told = Told()
    told.inputs.on_status(SyncStatus.IN_SYNC)
    told.put(f"{ENDPOINTS}-x-d1-p1", {"spec": {"interfaceName": "tapx"}})
    assert told.inputs.view.counts[0] == 0
