"""Which API server a network's pods are asked of: one client for each that networks name, kept while its file says the
same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from calico.errors import InvalidInput
from calico.orchestrators.cni.protocol.fault import INVALID_CONFIG, TRY_AGAIN, PluginError
from calico.orchestrators.cni.protocol.netconf import NetConf
from calico.orchestrators.cni.workload.pods import NoKubernetes, PodSource

if TYPE_CHECKING:
    from calico.orchestrators.kubernetes.api.client import Client
    from calico.orchestrators.kubernetes.api.connection import APIConnection

__all__ = ["PodSources"]

_NOWHERE = NoKubernetes()


class PodSources:
    """``of`` a network: its ``kubernetes.kubeconfig``, else the API root and credentials that it names, else nothing.

    Nothing of Kubernetes is imported for networks that name none.
    """

    def __init__(self) -> None:
        self._clients: dict[object, tuple[Client, PodSource]] = {}
        self._files: dict[str, object] = {}
        self._replaced: list[Client] = []

    def of(self, config: NetConf) -> PodSource:
        """PluginError 11 while the kubeconfig is not there (whoever installs us writes it), 7 when it is wrong."""
        where = config.kubernetes.kubeconfig
        if not where and not config.api_root:
            return _NOWHERE
        key = self._key_of_file(where) if where else config.api_root_and_credentials
        if key not in self._clients:
            self._clients[key] = _open(config)
        return self._clients[key][1]

    async def close(self) -> None:
        """Close all connections."""
        clients = [*self._replaced, *(client for client, _ in self._clients.values())]
        self._clients, self._files, self._replaced = {}, {}, []
        for client in clients:
            await client.close()

    def _key_of_file(self, path: str) -> object:
        try:
            stat = os.stat(path)
        except OSError as error:
            message = f"kubernetes.kubeconfig: {path} cannot be read: {error.strerror}"
            raise PluginError(TRY_AGAIN, message, "whoever installs the plugin writes it") from None
        key = (path, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        before = self._files.get(path)
        if before is not None and before != key and before in self._clients:
            self._replaced.append(self._clients.pop(before)[0])  # calls may still be under way with it
        self._files[path] = key
        return key


def _open(config: NetConf) -> tuple[Client, PodSource]:
    try:
        from calico.orchestrators.cni.workload.api_pods import ApiPods
        from calico.orchestrators.kubernetes.api.client import Client
        from calico.orchestrators.kubernetes.api.connection import read_kubeconfig
    except ModuleNotFoundError as error:
        message = f"kubernetes: {error.name} is not installed; install calico-network[kubernetes]"
        raise PluginError(INVALID_CONFIG, message) from None
    where = config.kubernetes.kubeconfig
    try:
        client = Client(read_kubeconfig(Path(where)) if where else _by_keys(config), field_manager="calico-cni")
    except InvalidInput as error:
        raise PluginError(INVALID_CONFIG, f"kubernetes.kubeconfig: {error}") from None
    return client, ApiPods(client)


def _by_keys(config: NetConf) -> APIConnection:
    from calico.orchestrators.kubernetes.api.connection import APIConnection

    policy = config.policy
    return APIConnection(
        server=config.api_root.rstrip("/"),
        token=policy.k8s_auth_token,
        cert=policy.k8s_client_certificate,
        key=policy.k8s_client_key,
        ca=policy.k8s_certificate_authority,
    )
