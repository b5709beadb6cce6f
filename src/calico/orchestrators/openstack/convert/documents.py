"""What a conversion gives: documents for etcd in the order to write them, and problems. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from calico.model.encoding import to_stored
from calico.model.keys import ResourceKey, key_path
from calico.model.meta import Metadata, Resource
from calico.model.validation import validate
from calico.orchestrators.openstack import records

__all__ = ["Converted", "Document", "Options", "Problem", "finished", "metadata_of"]

_MOST_WRITTEN, _TEXT_WRITTEN = 50, 500
"""Problems written into a document, and characters of each."""

Tree = dict[str, Any]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Choices of the operator that documents depend on.

    ``isolation``: who is kept apart besides what security groups say; see ``convert.isolation``. ``burst_is_peak``:
    read ``max_burst_kbps`` as networking-calico does, as a peak rate, not as Neutron documents it, as a burst's size.
    ``pools``: also make an IPPool of each subnet. ``route_all_pairs``: route every single address among the allowed
    address pairs to its port, as networking-calico does, not only those inside the subnets of the port's network; who
    may write pairs may then draw traffic for any address of the fabric. The limits of connections hold for every port;
    0 is none.
    """

    region: str = ""
    isolation: Literal["none", "project", "network+router"] = "none"
    burst_is_peak: bool = False
    pools: bool = False
    route_all_pairs: bool = False
    ingress_max_connections: int = 0
    egress_max_connections: int = 0


class Problem(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Something Neutron says that Calico does not carry out as it is said.

    ``denied``: it allows or does nothing; a port that it concerns should report ERROR with ``text`` as the reason.
    ``notice``: the port works, but differs as told. ``code`` is stable, for metrics and for searching logs.
    """

    code: str
    kind: str
    id: str
    text: str
    severity: Literal["denied", "notice"] = "denied"

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The desired value of one key: a resource, or the record of a subnet (``record``).

    ``extra`` are members of the resource's spec that no schema of Calico knows. ``revision`` is Neutron's of the object
    that the document is made of; 0 when there is none.
    """

    path: str
    revision: int = 0
    resource: Resource | None = None
    extra: Tree = {}
    record: records.SubnetRecord | None = None

    def tree(self) -> Tree:
        """The JSON document as plain dicts and lists, without what only a writer can know (uid, time of creation)."""
        if self.resource is None:
            assert self.record is not None
            tree: Tree = msgspec.json.decode(records.encode_subnet(self.record))
            return tree
        tree = msgspec.json.decode(msgspec.json.encode(to_stored(self.resource)))
        tree["spec"].update(self.extra)
        return tree


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """All that one Neutron object should be in etcd: whatever else it had there is to be deleted."""

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()


def metadata_of(key: ResourceKey, revision: int, labels: dict[str, str], annotations: dict[str, str]) -> Metadata:
    """Metadata of a mirrored resource, with the annotation that tells the revision."""
    if revision:
        annotations = {**annotations, records.REVISION: str(revision)}
    return Metadata(
        name=key.name, namespace=key.namespace, labels=labels, annotations=dict(sorted(annotations.items()))
    )


def finished(
    resources: Iterable[tuple[ResourceKey, Resource, Tree]],
    problems: Iterable[Problem],
    *,
    revision: int,
    subject: tuple[str, str],
) -> Converted:
    """Documents of the resources that may be stored; what validation refuses becomes a problem of ``subject``.

    The problems are written into the documents, too, so that one who looks there knows; of many the first.
    """
    told = sorted(set(problems))
    documents = []
    for key, resource, extra in resources:
        if told:
            texts = msgspec.json.encode([str(problem)[:_TEXT_WRITTEN] for problem in told[:_MOST_WRITTEN]]).decode()
            annotations = dict(sorted({**resource.metadata.annotations, records.PROBLEMS: texts}.items()))
            resource = replace(resource, metadata=replace(resource.metadata, annotations=annotations))
        faults = validate(resource)
        if faults:
            text = f"{key} cannot be stored: {'; '.join(map(str, faults))}"
            told.append(Problem(code="document-invalid", kind=subject[0], id=subject[1], text=text))
            continue
        documents.append(Document(path=key_path(key), revision=revision, resource=resource, extra=extra))
    return Converted(documents=tuple(documents), problems=tuple(sorted(set(told))))
