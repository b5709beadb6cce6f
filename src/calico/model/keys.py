"""Identity of resources, and their etcd keys (``/calico/resources/v3/projectcalico.org/<plural>/[<ns>/]<name>``).

Resource keys are built and parsed here and nowhere else. Other keys (IPAM, Felix status) belong to their packages.
"""

from __future__ import annotations

import msgspec

from calico.errors import InvalidInput
from calico.model.kinds import BY_PLURAL, kind_info

__all__ = ["RESOURCE_PREFIX", "ResourceKey", "key_path", "kind_prefix", "parse_key"]

ROOT = "/calico/"
RESOURCE_PREFIX = "/calico/resources/v3/projectcalico.org/"


class ResourceKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """Kind, namespace (empty for cluster kinds) and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def key_path(key: ResourceKey) -> str:
    """The etcd key of a resource; InvalidInput when namespace and scope disagree."""
    info = kind_info(key.kind)
    if info.namespaced != bool(key.namespace):
        need = "needs a namespace" if info.namespaced else "must not have a namespace"
        raise InvalidInput(f"{key.kind} {need}", subject=str(key), field="metadata.namespace")
    if not key.name:
        raise InvalidInput("a name is required", subject=str(key), field="metadata.name")
    middle = f"{key.namespace}/" if info.namespaced else ""
    return f"{RESOURCE_PREFIX}{info.plural}/{middle}{key.name}"


def kind_prefix(kind: str, namespace: str = "") -> str:
    """The prefix under which all resources of a kind (in one namespace, when given) live."""
    info = kind_info(kind)
    return f"{RESOURCE_PREFIX}{info.plural}/" + (f"{namespace}/" if namespace and info.namespaced else "")


def parse_key(path: str) -> ResourceKey | None:
    """The identity behind an etcd key, or None when it is not a well-formed resource key of a known kind."""
    if not path.startswith(RESOURCE_PREFIX) or not (path.isascii() or _is_text(path)):
        return None
    parts = path[len(RESOURCE_PREFIX) :].split("/")
    info = BY_PLURAL.get(parts[0])
    if info is None or not all(parts) or len(parts) != (3 if info.namespaced else 2):
        return None
    return ResourceKey(info.kind, parts[1] if info.namespaced else "", parts[-1])


def _is_text(path: str) -> bool:
    """False for lone surrogates, which stand for bytes that are not UTF-8: such a name could not be written."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
