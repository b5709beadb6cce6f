"""The daemons' options about etcd: the settings of a CalicoAPIConfig file, each as an option and in the environment."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from calico.datastore.connection import DEFAULT_ENDPOINT, Connection, load_connection

__all__ = ["connection_of", "etcd_options"]

_F = TypeVar("_F", bound=Callable[..., Any])

_FELIX = "FELIX_ETCD"
_OPTIONS = {  # option -> (field of the file, variable of Felix, variable of all, help)
    "--etcd-endpoints": (
        "etcdEndpoints",
        "ENDPOINTS",
        "ETCD_ENDPOINTS",
        f"Comma-separated URLs of etcd; {DEFAULT_ENDPOINT} when nothing says.",
    ),
    "--etcd-ca-file": ("etcdCACertFile", "CAFILE", "ETCD_CA_CERT_FILE", "CA of etcd's certificates, PEM."),
    "--etcd-cert-file": ("etcdCertFile", "CERTFILE", "ETCD_CERT_FILE", "Our client certificate, PEM."),
    "--etcd-key-file": ("etcdKeyFile", "KEYFILE", "ETCD_KEY_FILE", "Its private key, PEM."),
    "--etcd-username": ("etcdUsername", "USERNAME", "ETCD_USERNAME", "User of etcd."),
    "--etcd-password-file": (
        "etcdPasswordFile",
        "PASSWORDFILE",
        "ETCD_PASSWORD_FILE",
        "File with the user's password, read at every log-in; or ETCD_PASSWORD in the environment.",
    ),
}


def etcd_options(function: _F) -> _F:
    """``--config`` and one option per setting; the command gets them by name, for ``connection_of``."""
    for option, (_, felix, everyone, text) in reversed(_OPTIONS.items()):
        variables = [f"{_FELIX}{felix}", f"CALICO_{everyone}", everyone]
        function = click.option(option, envvar=variables, help=text)(function)
    return click.option("-c", "--config", envvar="CALICO_CONFIG", help="CalicoAPIConfig file with these settings.")(
        function
    )


def connection_of(
    config: str | None,
    options: Mapping[str, str | None],
    environment: Mapping[str, str] = os.environ,
    parameters: Mapping[str, str] = {},
) -> Connection:
    """What the options say, then the environment, then Felix's own file (its ``parameters``), then the file."""
    given_there = {name.upper(): value for name, value in parameters.items()}
    environment = {f"FELIX_{name}": value for name, value in given_there.items()} | dict(environment)
    options = {
        name: options.get(name.removeprefix("--").replace("-", "_")) or given_there.get(f"ETCD{felix}")
        for name, (_, felix, _, _) in _OPTIONS.items()
    }
    given = {field: options[name] for name, (field, *_) in _OPTIONS.items()}
    if not given.get("etcdEndpoints") and environment.get(f"{_FELIX}ADDR"):
        address = environment[f"{_FELIX}ADDR"]
        scheme = environment.get(f"{_FELIX}SCHEME") or ("http" if _is_here(address) else "https")
        given["etcdEndpoints"] = f"{scheme}://{address}"
    return load_connection(config, environment, given=given, default="")


def _is_here(address: str) -> bool:
    """Whether host:port is on this host, so that nothing that is sent there leaves it."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
