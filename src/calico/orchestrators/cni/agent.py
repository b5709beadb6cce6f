"""What the commands of the plugin work with, made once per process and shared by all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from calico.datastore.typed.store import Store
from calico.ipam.allocator import Allocator
from calico.ipam.steps.turns import Turns
from calico.obs.logger import Logger
from calico.orchestrators.cni.addresses import AddressSource, DelegatedAddresses, OwnAddresses
from calico.orchestrators.cni.hostfiles import node_of
from calico.orchestrators.cni.names import DEFAULT_PREFIX, Attached
from calico.orchestrators.cni.netconf import NetConf
from calico.orchestrators.cni.pods import NoKubernetes, PodSource
from calico.orchestrators.cni.protocol import Request
from calico.orchestrators.cni.records import DEFAULT_DIRECTORY, Records
from calico.orchestrators.cni.steps import OnStep, unwatched

__all__ = ["Agent", "Call", "Settings"]

log = Logger(__name__)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Of this host: its Node, the prefix of workloads' interfaces, Felix's folder of sockets, ours of records, how long
    an ADD waits for Felix (0: not at all), the file that says the MTU of networks that do not, and whether each call is
    a process of its own."""

    node: str
    interface_prefix: str = DEFAULT_PREFIX
    felix_run_dir: str = "/var/run/calico"
    records: str = DEFAULT_DIRECTORY
    policy_setup_timeout_s: float = 5.0
    mtu_file: str = "/var/lib/calico/mtu"
    standalone: bool = False


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request, and ``netns``: the path by which this process reaches the container's namespace; empty when it is
    gone or is the host's own. The rest is for what people plug in by hand: ``labels``, a name for the host's end, or a
    device that exists (``tap``). No GC collects such."""

    request: Request
    netns: str = ""
    netns_is_host: bool = False
    by_hand: bool = False
    labels: Mapping[str, str] = {}
    host_interface: str = ""
    tap: str = ""


class Agent:
    """The plugin of one host. Commands of one container come one after the other, those of others side by side."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        allocator: Allocator,
        pods: PodSource | None = None,
        on_step: OnStep = unwatched,
    ) -> None:
        self.settings, self.store, self.allocator, self.on_step = settings, store, allocator, on_step
        self.pods: PodSource = pods or NoKubernetes()
        self.records = Records(settings.records)
        self.address_records = Records(f"{settings.records}/ipam")
        self._told: set[tuple[str, tuple[str, ...]]] = set()
        self._turns = Turns()

    def attached(self, request: Request) -> Attached:
        """What the request is about: a pod's interface when the runtime names a pod, else a container's."""
        pod = request.arguments.get("K8S_POD_NAME", "")
        namespace = request.arguments.get("K8S_POD_NAMESPACE", "")
        in_kubernetes = bool(pod and namespace)
        return Attached(
            network=request.config.name,
            container_id=request.container_id,
            interface=request.interface,
            node=self.node(request.config),
            namespace=namespace if in_kubernetes else "default",
            pod=pod if in_kubernetes else "",
        )

    def node(self, config: NetConf) -> str:
        """The Node that this host is for a network."""
        return node_of(config, self.settings.node)

    def tell_unheeded(self, config: NetConf) -> None:
        """Say once for each network what it says in vain."""
        keys = () if self.settings.standalone else config.unheeded
        if keys and (config.name, keys) not in self._told:
            self._told.add((config.name, keys))
            log.warning("the network says what the daemon's own options say; those count", network=config.name,
                        keys=", ".join(keys))  # fmt: skip

    def host_interface(self, call: Call, attached: Attached) -> str:
        """The host's end of an attachment."""
        return call.tap or call.host_interface or attached.host_interface(self.settings.interface_prefix)

    def addresses(self, request: Request) -> AddressSource:
        """Who gives addresses in the request's network."""
        return OwnAddresses(self.allocator) if request.config.is_own_ipam else DelegatedAddresses(request)

    @asynccontextmanager
    async def alone(self, container_id: str) -> AsyncIterator[None]:
        """While it lasts, nobody else works on the container."""
        async with self._turns.of(container_id):
            yield
