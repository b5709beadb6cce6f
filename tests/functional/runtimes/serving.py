"""A web server in a container, and whether others get its page."""

from __future__ import annotations

from typing import Any

__all__ = ["WEB", "fetch", "policy"]

WEB = ("/bin/httpd", "-f", "-p", "80", "-h", "/www")


def fetch(caller: Any, address: str, port: int = 80) -> bool:
    """Whether a container gets the page of another; one that is denied waits for a second. (Debian's static wget ends
    with a segmentation fault, so it is done by hand.)"""
    script = f'printf "GET / HTTP/1.0\\r\\n\\r\\n" | nc -w 1 {address} {port}'
    code, output = caller("sh", "-c", script)
    return bool(code == 0 and "hello" in output)


def policy(name: str, namespace: str, allowed: str) -> dict[str, Any]:
    """The pods of a namespace are reached from those of another, and from nobody else."""
    rule = {"action": "Allow", "protocol": "TCP", "source": {"selector": f"projectcalico.org/namespace == '{allowed}'"}}
    spec = {"selector": f"projectcalico.org/namespace == '{namespace}'", "types": ["Ingress"], "ingress": [rule]}
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }
