"""Desired against stored: what is to be written or deleted, and what of others survives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from calico.model.policy import NetworkPolicy
from calico.orchestrators.openstack import naming, records
from calico.orchestrators.openstack.convert import (
    Change,
    Document,
    Options,
    compare,
    compare_all,
    convert_port,
    convert_security_group,
    convert_subnet,
    to_store,
)
from calico.orchestrators.openstack.facts import AddressPair, DhcpOption, FloatingIp
from cloud.made import NETWORK, SUBNETS, group, ident, port, rule, view

OPTIONS = Options()
UID, CREATED = "11111111-2222-3333-4444-555555555555", "2026-01-02T03:04:05Z"


def a_port(**more: Any) -> Document:
    return convert_port(view(port("one", **more)), OPTIONS).documents[0]


def a_group(*protocols: str, **more: Any) -> Document:
    rules = (rule("ingress", protocol=name) for name in protocols)
    return convert_security_group(group("web", *rules, **more), OPTIONS).documents[0]


def a_subnet(**more: Any) -> Document:
    return convert_subnet(replace(SUBNETS[0], revision_number=4, **more), NETWORK, (), OPTIONS).documents[0]


def written(document: Document, stored: bytes | None = None) -> bytes:
    return to_store(document, stored, uid=UID, created=CREATED)


def changed(raw: bytes, **members: Any) -> bytes:
    """Stored bytes with members of metadata or spec changed by somebody else: ``spec__mac="x"``."""
    tree = json.loads(raw)
    for path, value in members.items():
        where, _, name = path.partition("__")
        tree[where][name] = value
    return json.dumps(tree, indent=1).encode()


DOCUMENTS = [
    a_port(allowed_address_pairs=(AddressPair(ip_address="10.65.66.1"),)),
    a_group("tcp", "udp"),
    a_subnet(),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.path.rsplit("/", 2)[1])
def test_what_was_written_is_unchanged_and_nothing_stored_is_created(document: Document) -> None:
    assert compare(document, None).verdict == "create"
    raw = written(document)
    assert compare(document, raw) == Change(path=document.path, verdict="unchanged", document=document)
    assert written(document, raw) == raw


def test_a_resource_gets_uid_and_time_once() -> None:
    raw = written(a_group("tcp"))
    metadata = json.loads(raw)["metadata"]
    assert (metadata["uid"], metadata["creationTimestamp"]) == (UID, CREATED)
    again = json.loads(to_store(a_group("udp"), raw, uid="another", created="later"))["metadata"]
    assert (again["uid"], again["creationTimestamp"]) == (UID, CREATED)


def test_each_difference_is_named_with_both_values() -> None:
    raw = written(a_port())
    change = compare(a_port(mac_address="fa:16:3e:00:00:02", security_groups=(ident("g"),)), raw)
    assert change.verdict == "update"
    assert [(one.field, one.stored, one.desired) for one in change.differences] == [
        (f"metadata.labels[sg.projectcalico.org/openstack-{ident('g')}]", None, ""),
        ("spec.mac", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"),
    ]
    assert not change.only_revision


def test_what_others_added_makes_no_difference_and_survives() -> None:
    document = a_port()
    foreign = changed(written(document), spec__theirs={"deep": [1, 2]}, metadata__finalizers=["x/y"])
    tree = json.loads(foreign)
    tree["metadata"]["labels"]["role"] = "db"
    tree["metadata"]["annotations"]["example.org/note"] = "kept"
    foreign = json.dumps(tree).encode()
    assert compare(document, foreign).verdict == "unchanged"
    update = a_port(mac_address="fa:16:3e:00:00:02")
    kept = json.loads(written(update, foreign))
    assert kept["spec"]["theirs"] == {"deep": [1, 2]}
    assert kept["metadata"]["labels"]["role"] == "db"
    assert kept["metadata"]["annotations"]["example.org/note"] == "kept"
    assert kept["metadata"]["finalizers"] == ["x/y"]
    assert compare(update, json.dumps(kept).encode()).verdict == "unchanged"


def test_owners_and_the_order_of_annotations_survive_every_update() -> None:
    document = a_port()
    tree = json.loads(written(document))
    tree["metadata"]["ownerReferences"] = [{"kind": "X", "name": "x"}]
    tree["metadata"]["annotations"] = {"zzz.org/a": "1", **tree["metadata"]["annotations"], "aaa.org/a": "2"}
    once = written(document, json.dumps(tree).encode())
    kept = json.loads(once)["metadata"]
    assert kept["ownerReferences"] == [{"kind": "X", "name": "x"}]
    assert list(kept["annotations"]) == sorted(tree["metadata"]["annotations"])
    assert written(document, once) == once


def test_a_damaged_document_is_one_difference_that_tells_the_damage() -> None:
    document = a_group("tcp")
    (difference,) = compare(document, changed(written(document), spec__order="much")).differences
    assert difference.field == ""
    assert "order" in difference.stored
    assert difference.desired


def test_a_membership_that_ended_is_taken_away() -> None:
    raw = written(a_port(security_groups=(ident("g"),)))
    change = compare(a_port(), raw)
    assert [one.field for one in change.differences] == [
        f"metadata.labels[sg.projectcalico.org/openstack-{ident('g')}]"
    ]
    assert "sg.projectcalico.org" not in written(a_port(), raw).decode()


def test_allowed_addresses_that_ended_are_taken_away() -> None:
    raw = written(DOCUMENTS[0])
    assert json.loads(raw)["spec"]["allowedIps"] == ["10.65.66.1/32"]
    change = compare(a_port(), raw)
    assert {"spec.allowedIps", "spec.ipNetworks"} <= {one.field for one in change.differences}
    assert "allowedIps" not in json.loads(written(a_port(), raw))["spec"]


def test_a_forged_rule_is_found_and_mended() -> None:
    document = a_group("tcp")
    forged = changed(written(document), spec__ingress=[{"action": "Allow"}])
    change = compare(document, forged)
    assert [one.field for one in change.differences] == ["spec.ingress"]
    assert compare(document, written(document, forged)).verdict == "unchanged"


@pytest.mark.parametrize("raw", [b"", b"no json", b"[]", b'{"spec":3}', b'{"spec":{"selector":"&&"}}', b"\xff\xfe"])
@pytest.mark.parametrize("document", DOCUMENTS[:3], ids=["port", "group", "subnet"])
def test_garbage_is_replaced(document: Document, raw: bytes) -> None:
    change = compare(document, raw)
    assert change.verdict == "update"
    assert change.differences
    assert compare(document, written(document, raw)).verdict == "unchanged"


@pytest.mark.parametrize("document", [a_port(revision_number=9), a_group("tcp", revision_number=9)])
def test_only_the_revision_differs(document: Document) -> None:
    older = a_port() if "workloadendpoints" in document.path else a_group("tcp")
    change = compare(document, written(older))
    assert (change.verdict, change.only_revision) == ("update", True)
    assert [one.field for one in change.differences] == [
        "metadata.annotations[openstack.projectcalico.org/neutron-revision]"
    ]


def test_more_than_the_revision_differs() -> None:
    raw = written(a_port())
    assert not compare(a_port(revision_number=9, mac_address="fa:16:3e:00:00:02"), raw).only_revision
    assert not compare(a_port(), raw).only_revision
    later = convert_subnet(replace(SUBNETS[0], revision_number=9), NETWORK, (), OPTIONS).documents[0]
    assert compare(later, written(a_subnet())).only_revision


def test_differences_are_in_one_order() -> None:
    groups = tuple(sorted(ident(f"g{n}") for n in range(9)))
    fields = [one.field for one in compare(a_port(security_groups=groups[::-1]), written(a_port())).differences]
    assert fields == [f"metadata.labels[sg.projectcalico.org/openstack-{one}]" for one in groups]


def test_a_later_revision_is_not_overwritten_unless_asked() -> None:
    raw = written(a_port(revision_number=9, mac_address="fa:16:3e:00:00:02"))
    assert compare(a_port(revision_number=8), raw).verdict == "newer"
    assert compare(a_port(revision_number=8), raw, keep_newer=False).verdict == "update"
    assert compare(a_port(revision_number=10), raw).verdict == "update"
    subnet = compare(a_subnet(), written(a_subnet(gateway_ip="")))
    assert (subnet.verdict, [one.field for one in subnet.differences]) == ("update", ["gateway_ip"])
    later = convert_subnet(replace(SUBNETS[0], revision_number=9, gateway_ip=""), NETWORK, (), OPTIONS).documents[0]
    assert compare(a_subnet(), written(later)).verdict == "newer"
    stale, stored = [a_port(revision_number=8)], {a_port().path: raw}
    assert [change.verdict for change in compare_all(stale, stored)] == ["newer"]
    assert [change.verdict for change in compare_all(stale, stored, keep_newer=False)] == ["update"]
    unnumbered = replace(a_port(mac_address="fa:16:3e:00:00:03", revision_number=0), revision=0)
    assert compare(unnumbered, raw).verdict == "update"


def test_documents_of_networking_calico_are_updated_in_place() -> None:
    """It writes no types, tier or annotations of ours; a policy of the same rules does not differ in its spec."""
    document = a_group("tcp")
    theirs = json.dumps(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": f"ossg.default.{ident('web')}",
                "namespace": "openstack",
                "uid": "their-uid",
                "creationTimestamp": "2020-01-01T00:00:00Z",
            },
            "spec": {
                "ingress": [
                    {
                        "action": "Allow",
                        "ipVersion": 4,
                        "protocol": "tcp",
                        "source": {},
                        "destination": {},
                    }
                ],
                "egress": [],
                "selector": f"has(sg.projectcalico.org/openstack-{ident('web')})",
            },
        }
    ).encode()
    change = compare(document, theirs)
    assert change.only_revision
    stored = json.loads(written(document, theirs))["metadata"]
    assert (stored["uid"], stored["creationTimestamp"]) == ("their-uid", "2020-01-01T00:00:00Z")


def test_a_record_keeps_members_that_nobody_knows() -> None:
    raw = json.dumps({**json.loads(written(a_subnet())), "later": [1]}).encode()
    assert compare(a_subnet(), raw).verdict == "unchanged"
    assert json.loads(written(a_subnet(gateway_ip=""), raw))["later"] == [1]
    assert json.loads(written(a_subnet(gateway_ip=""), raw))["gateway_ip"] is None


def test_what_mirrors_nothing_is_deleted_and_what_is_not_ours_is_left_alone() -> None:
    base = "/calico/resources/v3/projectcalico.org"
    gone = [
        naming.subnet_key("", "gone"),
        f"{base}/livemigrations/openstack/h1-openstack-d-p",
        f"{base}/networkpolicies/openstack/openstack-isolation.network-gone",
        f"{base}/networkpolicies/openstack/openstack-isolation.others",
        f"{base}/networkpolicies/openstack/ossg.default.gone",
        f"{base}/networksets/openstack/osag.gone",
        f"{base}/workloadendpoints/openstack/h1-openstack-d-gone",
        f"{base}/ippools/openstack.gone",
    ]
    others = [
        naming.subnet_key("east", "s"),
        f"{base}/networkpolicies/openstack/operators-own",
        f"{base}/networkpolicies/openstack-region-east/ossg.default.g",
        f"{base}/networkpolicies/default/ossg.default.g",
        f"{base}/workloadendpoints/openstack/h1-k8s-pod-eth0",
        f"{base}/workloadendpoints/openstack/h1-openstack-d",
        f"{base}/ippools/openstack-region-east.s",
        f"{base}/ippools/default-ipv4-ippool",
        f"{base}/tiers/openstack-isolation",
        f"{base}/globalnetworkpolicies/ossg.default.g",
        f"{base}/networksets/openstack/operators-own",
        "/calico/felix/v2/no-region/host/h1/status",
        "/calico/dhcp/v2/no-region/subnet/",
        "/calico/dhcp/v2/no-region/subnet/a/b",
        "",
    ]
    documents = [a_port(), a_group("tcp")]
    stored = dict.fromkeys((*gone, *others), b"{}") | {documents[1].path: written(documents[1])}
    changes = compare_all(documents, stored)
    assert [(change.path, change.verdict) for change in changes] == [
        (documents[0].path, "create"),
        (documents[1].path, "unchanged"),
        *((path, "delete") for path in sorted(gone)),
    ]


def test_a_key_tells_the_object_that_it_mirrors() -> None:
    one = a_port()
    assert naming.identify(one.path) == naming.Mirrored(kind="port", id=ident("port one"), host="compute-01")
    assert naming.identify(a_group().path) == naming.Mirrored(kind="security_group", id=ident("web"))
    base = "/calico/resources/v3/projectcalico.org"
    for path, kind, identifier in (
        (f"{base}/networksets/openstack/osag.a", "address_group", "a"),
        (f"{base}/networkpolicies/openstack/openstack-isolation.network-n", "isolated_network", "n"),
        (f"{base}/networkpolicies/openstack/openstack-isolation.project-p", "isolated_project", "p"),
        (f"{base}/networkpolicies/openstack/openstack-isolation.others", "isolation", "others"),
        (f"{base}/ippools/openstack.s", "subnet", "s"),
    ):
        assert naming.identify(path) == naming.Mirrored(kind=kind, id=identifier)
    for nameless in ("networksets/openstack/osag.", "networkpolicies/openstack/ossg.default.", "ippools/openstack."):
        assert naming.identify(f"{base}/{nameless}") is None
    assert naming.identify(a_subnet().path) == naming.Mirrored(kind="subnet", id=SUBNETS[0].id)
    assert naming.identify(one.path, "east") is None


texts = st.text(max_size=12)
addresses = st.sampled_from(["10.65.0.1", "10.65.0.2", "fd00::1", "fd00::2", "10.0.0.0/8", "0.0.0.0/0", "x", ""])


@given(
    names=st.tuples(texts, texts, texts),
    fixed=st.lists(addresses, max_size=3),
    pairs=st.lists(addresses, max_size=3),
    options=st.lists(st.tuples(texts, texts), max_size=2),
    floating=st.lists(st.tuples(addresses, addresses), max_size=2),
    secured=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_whatever_neutron_holds_is_written_soundly_or_named(
    names: Any, fixed: Any, pairs: Any, options: Any, floating: Any, secured: bool
) -> None:
    groups = tuple(group(name, id=ident(name)) for name in names)
    one = port(
        "one",
        *fixed,
        groups=groups,
        port_security_enabled=secured,
        allowed_address_pairs=tuple(AddressPair(ip_address=text) for text in pairs),
        extra_dhcp_opts=tuple(DhcpOption(opt_name=name, opt_value=value) for name, value in options),
        project_id=names[0],
    )
    found = tuple(
        FloatingIp(id=ident(own + outer), floating_ip_address=outer, port_id=one.id, fixed_ip_address=own)
        for own, outer in floating
    )
    converted = convert_port(view(one, *groups, floating_ips=found, network=replace(NETWORK, name=names[1])), OPTIONS)
    assert converted.documents or converted.problems
    for document in converted.documents:
        raw = written(document)
        assert compare(document, raw).verdict == "unchanged"
        assert document.resource is not None
        record, problems = records.read_endpoint(document.resource)  # type: ignore[arg-type]
        assert not problems
        assert sorted(record.dhcp_options, key=str) == sorted(one.extra_dhcp_opts, key=str)


def test_a_policy_is_never_stored_with_one_direction_only() -> None:
    """Absent types mean both; a policy of only egress rules would otherwise leave ingress to others."""
    resource = convert_security_group(group("web", rule("egress")), OPTIONS).documents[0].resource
    assert isinstance(resource, NetworkPolicy)
    assert "types" not in json.loads(written(a_group("tcp")))["spec"]
    assert resource.spec.types == ()
