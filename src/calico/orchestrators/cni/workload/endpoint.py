"""The WorkloadEndpoint of an attachment, and the default profile of a network. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from calico.model.meta import Metadata
from calico.model.policy import EntityRule, Profile, ProfileSpec, Rule
from calico.model.workload import IPNAT, WorkloadEndpoint, WorkloadEndpointSpec
from calico.orchestrators.cni.workload.annotations import Asked
from calico.orchestrators.cni.workload.names import Attached
from calico.orchestrators.cni.workload.pods import PodFacts
from calico.orchestrators.kubernetes.convert.pod import pod_labels, pod_ports, pod_profiles, pod_qos

__all__ = ["build_endpoint", "network_profile"]


def network_profile(network: str, *, kubernetes: bool) -> Profile:
    """What applies to endpoints of a network that no policy selects: containers of one network reach one another,
    and everything outside; pods (whose isolation is for policies to say) are reached by all."""
    allow = Rule(action="Allow")
    ingress = allow if kubernetes else Rule(action="Allow", source=EntityRule(selector=f"has({network})"))
    spec = ProfileSpec(ingress=(ingress,), egress=(allow,), labels_to_apply={network: ""})
    return Profile(kind="Profile", metadata=Metadata(name=network), spec=spec)


def build_endpoint(
    attached: Attached,
    *,
    host_interface: str,
    mac: str,
    addresses: Sequence[str],
    profiles: Sequence[str] = (),
    labels: dict[str, str] | None = None,
    facts: PodFacts | None = None,
    asked: Asked | None = None,
) -> WorkloadEndpoint:
    """The endpoint as it is stored. ``addresses`` have their length (/32, /128); ``profiles`` count where the pod's
    namespace and service account give none."""
    facts, asked = facts or PodFacts(), asked or Asked()
    namespace = attached.namespace
    if attached.pod:
        given = pod_labels(namespace, facts.labels, facts.service_account)
        profiles = profiles or pod_profiles(namespace, facts.service_account)
    else:
        orchestrator = {"projectcalico.org/namespace": namespace, "projectcalico.org/orchestrator": "cni"}
        given = {**(labels or {}), **orchestrator}
    controls, _ = pod_qos(facts.annotations)
    spec = WorkloadEndpointSpec(
        orchestrator=attached.orchestrator,
        node=attached.node,
        container_id=attached.stored_id,
        pod=attached.pod,
        endpoint=attached.interface,
        service_account_name=facts.service_account,
        ip_networks=tuple(addresses),
        ip_nats=_nats(addresses, asked.floating),
        profiles=tuple(profiles),
        interface_name=host_interface,
        mac=mac,
        ports=pod_ports(facts.spec),
        allow_spoofed_source_prefixes=asked.source_prefixes,
        qos_controls=controls,
    )
    metadata = Metadata(name=attached.endpoint_name, namespace=namespace, labels=given)
    return WorkloadEndpoint(kind="WorkloadEndpoint", metadata=metadata, spec=spec)


def _nats(addresses: Sequence[str], floating: Sequence[str]) -> tuple[IPNAT, ...]:
    """Each floating address leads to the own one of its family."""
    own = {":" in address: address.partition("/")[0] for address in reversed(addresses)}
    return tuple(
        IPNAT(internal_ip=own[":" in external], external_ip=external)
        for external in floating
        if (":" in external) in own
    )
