"""``calico kubernetes manifest``: the objects by which Calico runs in a cluster, for ``kubectl apply -f -``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["manifest_command"]

_MODES = ["None", "VXLAN", "VXLANCrossSubnet"]


@click.command("manifest")
@click.option("--etcd-endpoints", required=True, help="Comma-separated URLs of etcd, as hosts reach it.")
@click.option("--etcd-secret", default="", help="Secret with ca.crt, and tls.crt with tls.key, for https.")
@click.option("--etcd-client-cert", is_flag=True, help="With --etcd-secret: it has a client's certificate as well.")
@click.option("--etcd-ca-file", help="Put a Secret with this CA into the manifest, PEM.")
@click.option("--etcd-cert-file", help="And this certificate of a client, PEM.")
@click.option("--etcd-key-file", help="And its private key, PEM.")
@click.option("--image", required=True, help="Image made by packaging/kubernetes/image, where nodes find it.")
@click.option("--pull-policy", type=click.Choice(["Always", "IfNotPresent", "Never"]), default="IfNotPresent")
@click.option("--namespace", default="kube-system", show_default=True)
@click.option("--pool", "pools", multiple=True, help="CIDR of pods' addresses; one of IPv4, one of IPv6, or both.")
@click.option("--encapsulation", type=click.Choice(_MODES), default="None", show_default=True, help="Of the pools.")
@click.option("--nat-outgoing/--no-nat-outgoing", default=True, help="Of the pools: pods go out as their node.")
@click.option("--bgp/--no-bgp", default=True, help="Run BIRD on each node.")
@click.option("--mtu", default=0, help="MTU of pods. [default: what Felix finds]")
@click.option(
    "--chain", multiple=True, default=("portmap", "bandwidth"), show_default=True, help="Plugins behind ours."
)
@click.option("--cni-version", default="0.4.0", show_default=True, help="Of the network's file.")
@click.option("--cni-bin-dir", default="/opt/cni/bin", show_default=True, help="Where the runtime has its plugins.")
@click.option("--cni-conf-dir", default="/etc/cni/net.d", show_default=True, help="Where it looks for networks.")
@click.option("--ip-autodetection-method", "autodetection", default="first-found", show_default=True)
@click.option("--replicas", default=2, show_default=True, help="Of the controllers; one of them is at work.")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def manifest_command(
    etcd_endpoints: str,
    etcd_ca_file: str | None,
    etcd_cert_file: str | None,
    etcd_key_file: str | None,
    output: str,
    **given: Any,
) -> None:
    """Print the objects that install Calico in a cluster: accounts, settings, a DaemonSet, the controllers.

    Nothing is asked and nothing is changed: look at it, keep it, then `kubectl apply -f` it.
    """
    from calico.cli.kubernetes.manifests.objects import objects
    from calico.cli.kubernetes.manifests.settings import ManifestSettings
    from calico.cli.output.printing import json_text, yaml_text

    files = _files(etcd_ca_file, etcd_cert_file, etcd_key_file)
    if files is not None:
        given |= {"etcd_secret": given["etcd_secret"] or "calico-etcd", "etcd_client_cert": bool(files.cert)}
    endpoints = tuple(part.strip() for part in etcd_endpoints.split(",") if part.strip())
    made = objects(ManifestSettings(etcd_endpoints=endpoints, etcd_files=files, **given))
    if output == "json":
        click.echo(json_text({"apiVersion": "v1", "kind": "List", "items": made}))
    else:
        click.echo("---\n".join(map(yaml_text, made)), nl=False)


def _files(ca: str | None, cert: str | None, key: str | None) -> Any:
    from calico.cli.kubernetes.manifests.settings import EtcdFiles
    from calico.errors import InvalidInput

    if not ca:
        if cert or key:
            raise InvalidInput("is needed with a client's certificate", subject="--etcd-ca-file")
        return None
    texts = []
    for option, path in (("--etcd-ca-file", ca), ("--etcd-cert-file", cert), ("--etcd-key-file", key)):
        try:
            texts.append(Path(path).read_text() if path else "")
        except (OSError, ValueError) as error:
            raise InvalidInput(f"cannot be read: {error}", subject=option) from error
    return EtcdFiles(*texts)
