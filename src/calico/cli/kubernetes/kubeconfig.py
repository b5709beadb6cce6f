"""``calico kubernetes kubeconfig``: the file by which the CNI plugin's daemon finds the API server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

__all__ = ["kubeconfig_command", "kubeconfig_of"]

_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"


@click.command("kubeconfig")
@click.option("--server", help="URL of the API server. [default: what Kubernetes tells its pods]")
@click.option("--ca-file", default=f"{_FOLDER}/ca.crt", show_default=True, help="CA of its certificate, PEM.")
@click.option("--token-file", default=f"{_FOLDER}/token", show_default=True, help="Our token, read when it changes.")
@click.option("--write", "path", help="Write it here, for its owner alone. [default: print it]")
def kubeconfig_command(server: str | None, ca_file: str, token_file: str, path: str | None) -> None:
    """Make a kubeconfig that names files of the CA and of the token.

    Without options, inside a pod, it is that of the pod's service account.
    """
    from calico.cli.output.printing import yaml_text
    from calico.errors import Transient

    text = yaml_text(kubeconfig_of(server or _server_of_pod(), ca_file, token_file))
    if path is None:
        click.echo(text, nl=False)
        return
    partial = Path(f"{path}.part")
    try:
        partial.touch(mode=0o600)
        partial.chmod(0o600)
        partial.write_text(text)
        os.replace(partial, path)
    except OSError as error:
        raise Transient(f"{path} cannot be written: {error.strerror}") from error


def kubeconfig_of(server: str, ca_file: str, token_file: str) -> dict[str, Any]:
    """The document."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "calico",
        "clusters": [{"name": "kubernetes", "cluster": {"server": server, "certificate-authority": ca_file}}],
        "users": [{"name": "calico", "user": {"tokenFile": token_file}}],
        "contexts": [{"name": "calico", "context": {"cluster": "kubernetes", "user": "calico"}}],
    }


def _server_of_pod() -> str:
    from calico.errors import InvalidInput

    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise InvalidInput("is required outside of pods", subject="--server")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
