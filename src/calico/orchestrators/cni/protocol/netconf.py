"""The network configuration that runtimes hand to the plugin: Calico's keys, decoded once and checked. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import field

from calico.orchestrators.cni.protocol.fault import INVALID_CONFIG, UNDECODABLE, UNSUPPORTED_FIELD, PluginError

__all__ = ["MALFORMED", "OUR_IPAM", "Attachment", "IPAMConf", "NetConf", "decode_config"]

OUR_IPAM: Final = "calico-ipam"
MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading JSON raises that somebody else wrote."""


_OF_THE_PROCESS: Final = (
    *("etcd_endpoints", "etcd_key_file", "etcd_cert_file", "etcd_ca_cert_file", "log_level"),
    *("log_file_path", "log_file_max_size", "log_file_max_age", "log_file_max_count"),
)
_NAMING: Final = ("cniVersion", "name", "nodename", "nodename_file", "nodename_file_optional", "hostname")
_MOST_QUEUES: Final = 4096
"""The kernel's own limit."""
_LONGEST_SETUP_S: Final = 90
"""Less than the shim waits for the daemon."""


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Unknown keys are ignored: runtimes and other plugins of a list add theirs."""


class IPAMConf(Part, frozen=True, kw_only=True):
    """``ipam``: whose plugin gives addresses, and from where. Pools are CIDRs or names of IPPools."""

    type: str = ""
    assign_ipv4: str | bool | None = None
    assign_ipv6: str | bool | None = None
    ipv4_pools: tuple[str, ...] = ()
    ipv6_pools: tuple[str, ...] = ()
    subnet: str = ""

    @property
    def wants_v4(self) -> bool:
        """Whether an IPv4 address is to be given: yes, unless it says no."""
        return _is_true(self.assign_ipv4, "ipam.assign_ipv4", default=True)

    @property
    def wants_v6(self) -> bool:
        """Whether an IPv6 address is to be given: no, unless it says yes."""
        return _is_true(self.assign_ipv6, "ipam.assign_ipv6", default=False)


class PolicyConf(Part, frozen=True, kw_only=True):
    """``policy``: with the type ``k8s`` pods get the profiles of their namespace and service account."""

    type: str = ""
    k8s_api_root: str = ""
    k8s_auth_token: str = ""
    k8s_client_certificate: str = ""
    k8s_client_key: str = ""
    k8s_certificate_authority: str = ""


class KubernetesConf(Part, frozen=True, kw_only=True):
    """``kubernetes``: where the API server is, as a file, or as a URL with the credentials in ``policy``."""

    kubeconfig: str = ""
    k8s_api_root: str = ""


class FeatureControl(Part, frozen=True, kw_only=True):
    """What pods may ask for by annotation beyond the usual."""

    ip_addrs_no_ipam: bool = False
    floating_ips: bool = False


class ContainerSettings(Part, frozen=True, kw_only=True):
    """Settings of the container's own kernel."""

    allow_ip_forwarding: bool = False


class RuntimeConfig(Part, frozen=True, kw_only=True):
    """What the runtime adds for capabilities that the network declares: ``ips`` and ``mac``."""

    ips: tuple[str, ...] = ()
    mac: str = ""


class ArgsCNI(Part, frozen=True, kw_only=True):
    """``args.cni``: addresses asked for by the convention of CNI."""

    ips: tuple[str, ...] = ()


class Args(Part, frozen=True, kw_only=True):
    """``args``: what a person or an orchestrator adds to a configuration."""

    cni: ArgsCNI = ArgsCNI()


class Attachment(Part, frozen=True, kw_only=True):
    """One attachment that a GC leaves alone."""

    container_id: str = field(name="containerID")
    interface: str = field(name="ifname")


class NetConf(Part, frozen=True, kw_only=True):
    """One plugin's configuration as it comes on standard input."""

    cni_version: str = field(default="0.1.0", name="cniVersion")
    name: str = ""
    type: str = ""
    prev_result: dict[str, Any] | None = field(default=None, name="prevResult")
    runtime_config: RuntimeConfig = field(default=RuntimeConfig(), name="runtimeConfig")
    args: Args | None = None
    valid_attachments: tuple[Attachment, ...] | None = field(default=None, name="cni.dev/valid-attachments")
    ipam: IPAMConf = IPAMConf()
    policy: PolicyConf = PolicyConf()
    kubernetes: KubernetesConf = KubernetesConf()
    mtu: int = 0
    require_mtu_file: bool = False
    num_queues: int = 0
    readiness_gates: tuple[str, ...] = ()
    device_type: str = ""
    nodename: str = ""
    nodename_file: str = ""
    nodename_file_optional: bool = True
    hostname: str = ""
    feature_control: FeatureControl = FeatureControl()
    container_settings: ContainerSettings = ContainerSettings()
    policy_setup_timeout_seconds: float | None = None
    datastore_type: str = ""
    etcd_endpoints: str = ""
    etcd_key_file: str = ""
    etcd_cert_file: str = ""
    etcd_ca_cert_file: str = ""
    log_level: Any = None
    log_file_path: Any = None
    log_file_max_size: Any = None
    log_file_max_age: Any = None
    log_file_max_count: Any = None

    @property
    def unheeded(self) -> tuple[str, ...]:
        """The keys that say something of which a daemon goes by its own options."""
        return tuple(name for name in _OF_THE_PROCESS if getattr(self, name) not in (None, ""))

    @property
    def is_own_ipam(self) -> bool:
        """Whether our own IPAM gives addresses: also when nothing says who does."""
        return self.ipam.type in ("", OUR_IPAM)

    @property
    def is_kubernetes_policy(self) -> bool:
        return self.policy.type == "k8s"

    @property
    def api_root(self) -> str:
        """The URL of the API server, where it is not in a kubeconfig."""
        return self.kubernetes.k8s_api_root or self.policy.k8s_api_root

    @property
    def api_root_and_credentials(self) -> tuple[str, PolicyConf]:
        """All that a connection without a kubeconfig is made of."""
        return (self.api_root, self.policy)

    @property
    def asked_addresses(self) -> tuple[str, ...]:
        """Addresses that the configuration asks for, without their lengths."""
        found = self.runtime_config.ips or (self.args.cni.ips if self.args else ())
        return tuple(text.partition("/")[0] for text in found)


def decode_config(data: bytes, *, to_remove: bool = False) -> NetConf:
    """The configuration; PluginError 6 when it is not JSON, 7 naming the field when one is wrong, 2 for what is known
    and not supported.

    ``to_remove``: only what tells where an attachment is counts; of the rest nothing can be so wrong that a container
    would stay attached, or that a runtime would ask for ever about one that was refused.
    """
    try:
        document = msgspec.json.decode(data)
    except MALFORMED as error:
        raise PluginError(UNDECODABLE, f"standard input is not a network configuration: {error}") from None
    try:
        config = msgspec.convert(_without_nulls(document), NetConf)
        _refuse_unsupported(config)
    except (msgspec.ValidationError, PluginError) as error:
        if to_remove and isinstance(document, dict):
            return _identity(document)
        if isinstance(error, PluginError):
            raise
        raise PluginError(INVALID_CONFIG, f"the network configuration is wrong: {error}") from None
    return config


def _identity(document: dict[str, Any]) -> NetConf:
    """The parts that name an attachment; PluginError 7 when one of those is wrong."""
    whose = {key: value for key, value in document.items() if key in _NAMING}
    ipam = document.get("ipam")
    kind = ipam.get("type") if isinstance(ipam, dict) else None
    try:
        return msgspec.convert({**_without_nulls(whose), "ipam": {"type": kind or ""}}, NetConf)
    except msgspec.ValidationError as error:
        raise PluginError(INVALID_CONFIG, f"the network configuration is wrong: {error}") from None


def _without_nulls(tree: Any) -> Any:
    """Null is nothing said: so writers in Go spell lists and objects that they leave empty."""
    if not isinstance(tree, dict):
        return tree
    return {key: _without_nulls(value) for key, value in tree.items() if value is not None}


def _refuse_unsupported(config: NetConf) -> None:
    unsupported = {
        "device_type": (config.device_type, ("", "veth"), "veth"),
        "datastore_type": (config.datastore_type, ("", "etcdv3"), "etcdv3"),
        "ipam.subnet": (config.ipam.subnet, ("",), "nothing; name pools instead"),
    }
    for key, (value, known, supported) in unsupported.items():
        if value not in known:
            raise PluginError(UNSUPPORTED_FIELD, f"{key}: {value!r} is not supported; supported is {supported}")
    if config.mtu < 0 or config.mtu > 65535:
        raise PluginError(INVALID_CONFIG, f"mtu: {config.mtu} is not between 0 (the kernel's default) and 65535")
    for key, value in (("nodename", config.nodename), ("hostname", config.hostname)):
        if "/" in value:
            raise PluginError(INVALID_CONFIG, f"{key}: {value!r} is not the name of a Node")
    if not 0 <= config.num_queues <= _MOST_QUEUES:
        raise PluginError(INVALID_CONFIG, f"num_queues: {config.num_queues} is not between 0 and {_MOST_QUEUES}")
    for url in config.readiness_gates:
        if not url.startswith(("http://", "https://")):
            raise PluginError(INVALID_CONFIG, f"readiness_gates: {url!r} is not an http or https URL")
    if config.api_root and not config.api_root.startswith(("http://", "https://")):
        raise PluginError(INVALID_CONFIG, f"k8s_api_root: {config.api_root!r} is not an http or https URL")
    if not 0 <= (config.policy_setup_timeout_seconds or 0) <= _LONGEST_SETUP_S:
        message = f"policy_setup_timeout_seconds: must be 0 (do not wait) to {_LONGEST_SETUP_S}"
        raise PluginError(INVALID_CONFIG, message)
    if not (config.ipam.wants_v4 or config.ipam.wants_v6):
        raise PluginError(INVALID_CONFIG, "ipam: assign_ipv4 and assign_ipv6 are both false")


def _is_true(value: str | bool | None, name: str, *, default: bool) -> bool:
    if value is None or value == "":
        return default
    if isinstance(value, bool) or value.lower() in ("true", "false"):
        return value is True or str(value).lower() == "true"
    raise PluginError(INVALID_CONFIG, f"{name}: {value!r} is neither true nor false")
