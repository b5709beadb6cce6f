"""Running a command inside a machine of a lab, as one would after logging in there."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from calico.dataplane.netns import enter_netns, open_netns
from calico.errors import InvalidInput, NotFound
from calico.lab.addressing import Layout, plan_layout
from calico.lab.daemons import PROXY_URL, run_dir
from calico.lab.state import list_labs, load_state

__all__ = ["find_lab", "machine_environment", "machine_netns", "replace_process"]


def find_lab(lab: str | None) -> str:
    """The lab that is meant: the one named, else the only one there is. NotFound or InvalidInput otherwise."""
    if lab is not None:
        return lab
    labs = list_labs()
    if not labs:
        raise NotFound("there is no lab; `calico lab up FILE` starts one")
    if len(labs) > 1:
        raise InvalidInput(f"there are several labs ({', '.join(labs)}); say which with --lab")
    return labs[0]


def machine_netns(layout: Layout, name: str) -> str:
    """The namespace of a host, workload, external or router; NotFound naming what there is."""
    names = layout.namespaces()
    if name not in names:
        raise NotFound(f"lab {layout.name!r} has no {name!r}; it has {', '.join(names)}")
    return names[name]


def machine_environment(layout: Layout, name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment, with ``calico`` on the path and, on hosts, set to the host's own daemons."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    extra = {"PATH": path, "CALICO_LAB_NAME": layout.name, "CALICO_LAB_MACHINE": name}
    if any(plan.host.name == name for plan in layout.hosts):
        extra |= {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": PROXY_URL}
        extra |= {"NODENAME": name, "CALICO_RUN_DIR": run_dir(layout.name, name)}
    return {**environment, **extra}


def replace_process(lab: str, name: str, command: Sequence[str]) -> None:
    """Become the command inside the machine; returns only by raising (NotFound when the command does not exist)."""
    state = load_state(lab)
    layout = plan_layout(state.topology)
    instance = state.instances.get(name)
    fd = open_netns(instance.netns if instance is not None else machine_netns(layout, name))
    enter_netns(fd)
    os.close(fd)
    try:
        os.execvpe(command[0], list(command), machine_environment(layout, name, os.environ))
    except FileNotFoundError:
        raise NotFound(f"command {command[0]!r} is not installed") from None
