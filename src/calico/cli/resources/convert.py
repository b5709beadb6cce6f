"""``calico convert``: manifests of Calico's first API, of its Kubernetes resources, and Kubernetes NetworkPolicies."""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec

from calico.cli.documents.legacy import LEGACY_VERSION, from_v1
from calico.cli.documents.reading import read_documents
from calico.cli.options import file_options
from calico.cli.output.printing import print_data, safe
from calico.errors import InvalidInput
from calico.model.decoding import POLICY_NAME_ANNOTATION
from calico.model.judging import judge_document
from calico.model.manifest import resource_to_data
from calico.model.meta import API_VERSION

__all__ = ["convert"]

_CRD_VERSION = "crd.projectcalico.org/v1"
_KUBERNETES_VERSION = "networking.k8s.io/v1"
_COPY_PREFIX = "knp.default."
_OF_KUBERNETES = ("managedFields", "selfLink", "generation", "resourceVersion", "uid", "creationTimestamp")


@click.command()
@file_options
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="What to print.")
@click.option("--ignore-validation", is_flag=True, help="Print what is not valid, too.")
def convert(
    files: tuple[str, ...], recursive: bool, skip_empty: bool, namespace: str, output: str, ignore_validation: bool
) -> None:
    """Turn manifests into resources of today: of Calico's v1 API, of crd.projectcalico.org, and Kubernetes
    NetworkPolicies.

    Resources of today pass unchanged. Exit code 1 when something could not be converted, or not all of it.
    """
    documents = list(read_documents(files, recursive=recursive))
    if not documents and not skip_empty:
        raise InvalidInput("no resource found", subject=", ".join(files))
    converted: list[dict[str, Any]] = []
    failed = False
    for where, raw in documents:
        try:
            document, problems = _converted(raw, namespace)
            if not ignore_validation:
                problems += [str(fault) for fault in judge_document(document, namespace).faults]
                if problems and not _is_kubernetes(raw):
                    raise InvalidInput("; ".join(problems))
            converted.append(document)
        except InvalidInput as error:
            problems = [str(error)]
        failed = failed or bool(problems)
        for problem in problems:
            click.echo(f"error: {safe(where)}: {safe(problem)}", err=True)
    _print(converted, output)
    if failed:
        raise click.exceptions.Exit(1)


def _converted(raw: object, namespace: str) -> tuple[dict[str, Any], list[str]]:
    """The resource, and what of it could not be converted."""
    if not isinstance(raw, dict):
        raise InvalidInput("must be an object with kind and apiVersion")
    version = raw.get("apiVersion")
    if version == API_VERSION:
        return raw, []
    if version == LEGACY_VERSION:
        return from_v1(raw), []
    if version == _CRD_VERSION:
        return _from_crd(raw), []
    if _is_kubernetes(raw):
        return _from_kubernetes(raw, namespace)
    known = f"{LEGACY_VERSION}, {_CRD_VERSION}, {API_VERSION} and NetworkPolicy of {_KUBERNETES_VERSION}"
    raise InvalidInput(f"{version!r} cannot be converted; known: {known}", field="apiVersion")


def _is_kubernetes(raw: object) -> bool:
    return isinstance(raw, dict) and (raw.get("apiVersion"), raw.get("kind")) == (_KUBERNETES_VERSION, "NetworkPolicy")


def _from_crd(raw: dict[str, Any]) -> dict[str, Any]:
    """How Calico keeps its resources in Kubernetes: the same, with what the API server adds."""
    metadata = {name: value for name, value in (raw.get("metadata") or {}).items() if name not in _OF_KUBERNETES}
    annotations = dict(metadata.pop("annotations", None) or {})
    try:
        kept = json.loads(annotations.pop(POLICY_NAME_ANNOTATION, "{}"))
    except ValueError as error:
        where = f"metadata.annotations[{POLICY_NAME_ANNOTATION}]"
        raise InvalidInput(f"is not JSON: {error}", subject=str(raw.get("kind")), field=where) from error
    metadata |= {name: kept[name] for name in ("name", "labels", "annotations") if kept.get(name)}
    if annotations:
        metadata["annotations"] = {**annotations, **metadata.get("annotations", {})}
    return {**raw, "apiVersion": API_VERSION, "metadata": metadata}


def _from_kubernetes(raw: dict[str, Any], namespace: str) -> tuple[dict[str, Any], list[str]]:
    """The policy under its own name: ``knp.default.…`` is kept for copies that follow Kubernetes."""
    from calico.orchestrators.kubernetes.convert import network_policy_to_calico

    result = network_policy_to_calico(raw)
    metadata = result.policy.metadata
    named = msgspec.structs.replace(
        metadata, name=metadata.name.removeprefix(_COPY_PREFIX), namespace=metadata.namespace or namespace
    )
    return resource_to_data(msgspec.structs.replace(result.policy, metadata=named)), list(result.problems)


def _print(documents: list[dict[str, Any]], output: str) -> None:
    if output == "json":
        print_data(documents[0] if len(documents) == 1 else documents, "json")
        return
    for index, document in enumerate(documents):
        if index:
            click.echo("---")
        print_data(document, "yaml")
