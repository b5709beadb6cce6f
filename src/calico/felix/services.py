"""What the datastore tells of Kubernetes' services, as the calculation takes it. Pure."""

from __future__ import annotations

from calico.calc.graph import Graph
from calico.calc.services import ServiceEndpoints, endpoints_of_slice
from calico.datastore.api import Update
from calico.errors import InvalidInput
from calico.model.kubernetes.services import SOURCE_KEY, SliceKey, decode_slice, parse_service_key

__all__ = ["give_service"]


def give_service(graph: Graph, update: Update) -> tuple[str, tuple[str, ...]]:
    """Hand a change of one key to the calculation: what the key is of, and what is wrong with its value.

    A slice that cannot be read brings nothing, so what policy opens for its service stays closed to it.
    """
    if update.key == SOURCE_KEY:
        if update.value is not None:
            graph.on_service_source()
        return update.key, ()
    key = parse_service_key(update.key)
    if not isinstance(key, SliceKey):
        return update.key, ()
    content: ServiceEndpoints | None = None
    problems: tuple[str, ...] = ()
    if update.value is not None:
        try:
            content = endpoints_of_slice(decode_slice(key, update.value))
        except InvalidInput as error:
            problems = (f"{error.field or 'value'}: {error.message}",)
    graph.on_service(key.namespace, key.service, content, key.name)
    return str(key), problems
