"""Taking a lab away without trace, however it was left: needs its name only, and works with a damaged state file."""

from __future__ import annotations

import shutil
from contextlib import suppress

from calico.dataplane.netns import delete_netns, list_netns
from calico.errors import InvalidInput, NotFound
from calico.lab.addressing import netns_name
from calico.lab.processes import end_processes, find_processes
from calico.lab.state import lab_dir, lab_lock, list_labs, load_state

__all__ = ["clear_away", "known_labs", "lab_namespaces", "take_down"]


def take_down(lab: str) -> bool:
    """End every process of the lab, delete its namespaces and files; whether there was anything of it."""
    with lab_lock(lab):
        return clear_away(lab)


def clear_away(lab: str) -> bool:
    """``take_down`` for whoever holds the lock."""
    try:
        records = list(load_state(lab).processes.values())
    except (NotFound, InvalidInput):
        records = []
    namespaces = lab_namespaces(lab)
    ended = end_processes(lambda: find_processes(lab, namespaces, records))
    for name in namespaces:
        with suppress(NotFound):
            delete_netns(name)
    existed = lab_dir(lab).exists()
    shutil.rmtree(lab_dir(lab), ignore_errors=True)
    return existed or bool(namespaces) or bool(ended)


def lab_namespaces(lab: str) -> list[str]:
    """The namespaces there are that bear the lab's name."""
    return [name for name in list_netns() if name.startswith(netns_name(lab, ""))]


def known_labs() -> list[str]:
    """Every lab that has files or namespaces, sorted: also those of which a crash left only a part."""
    prefixed = {name.split("-")[1] for name in list_netns() if name.startswith("cl-") and name.count("-") >= 2}
    return sorted(prefixed | set(list_labs()))
