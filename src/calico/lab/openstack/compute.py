"""What Nova and libvirt would do on a lab's compute hosts: boot, delete and move instances, each in Nova's order.

An instance is recorded before it is made. Its port is Neutron's: what is bound where is asked there, never guessed.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from calico.dataplane.netns import delete_netns
from calico.errors import AlreadyExists, CalicoError, InvalidInput, NotFound, Transient
from calico.lab.addressing import Layout, netns_name, plan_layout
from calico.lab.down import lab_namespaces
from calico.lab.fabric import make_namespace
from calico.lab.openstack.api import PROJECT, NeutronApi, open_api
from calico.lab.openstack.controller import events_file
from calico.lab.openstack.guest import configure, move_guest, plug, prepare_move, unplug
from calico.lab.openstack.instance import Instance
from calico.lab.processes import end_processes, find_processes
from calico.lab.state import LabState, lab_dir, lab_lock, load_state, save_state
from calico.lab.topology import NODE_NAME

__all__ = ["boot", "delete", "events", "migrate"]

_PLUGGED_S = 60.0
_POLL_S = 0.02
_OWNER = "compute:nova"
_MTU = 1500


def boot(
    lab: str, name: str, host: str, *, port: str = "", network: str = "", project: str = PROJECT, dhcp: bool = True
) -> Instance:
    """Bind a port (or make one on ``network``) to a host, plug it, wait until Neutron says so, and run the guest.

    InvalidInput, NotFound and AlreadyExists name what cannot be; Transient says that the port could not be bound, was
    not plugged in time or got no address. The instance is then left for ``delete``.
    """
    with lab_lock(lab):
        state = load_state(lab)
        layout = plan_layout(state.topology)
        api = open_api(layout, project)
        _check_name(state, layout, name)
        host_netns = _host_netns(layout, host)
        own = not port
        if own:
            if not network:
                raise InvalidInput("give a port, or a network to make one on", field="--port")
            port = str(api.create("port", network_id=network)["id"])
        instance = Instance(
            name=name,
            netns=netns_name(lab, name),
            host=host,
            port=port,
            device=str(uuid.uuid4()),
            mac=str(api.port(port)["mac_address"]),
            own_port=own,
        )
        told = len(events(layout))
        state = _remember(state, instance)
        bound = api.update_port(port, **{"device_id": instance.device, "device_owner": _OWNER, "binding:host_id": host})
        _check_bound(bound, host)
        make_namespace(instance.netns, router=False)
        plug(instance, host_netns, _tap_mac(bound), _mtu(api, bound))
    _until_plugged(layout, api, instance, told)
    if dhcp and bound["fixed_ips"]:
        configure(instance, lab_dir(lab))
    return instance


def delete(lab: str, name: str, project: str = PROJECT) -> Instance:
    """Unplug the port, end what runs in the guest, and unbind the port or, if it came with the instance, delete it."""
    with lab_lock(lab):
        state = load_state(lab)
        layout = plan_layout(state.topology)
        instance = _instance(state, name)
        api = open_api(layout, project)
        with suppress(NotFound):
            unplug(instance, _host_netns(layout, instance.host))
        if instance.netns in lab_namespaces(lab):
            end_processes(lambda: find_processes("", [instance.netns], []))
            delete_netns(instance.netns)
        with suppress(NotFound):
            if instance.own_port:
                api.call("DELETE", f"ports/{instance.port}")
            else:
                api.update_port(instance.port, **{"device_id": "", "device_owner": "", "binding:host_id": ""})
        left = {key: value for key, value in state.instances.items() if key != name}
        save_state(msgspec.structs.replace(state, instances=left))
        return instance


def migrate(
    lab: str,
    name: str,
    target: str,
    project: str = PROJECT,
    *,
    on_resumed: Callable[[float, float], object] = lambda paused, resumed: None,
) -> Instance:
    """Move a running instance to another host as Nova does: second binding, second tap, event, switch, activate, and
    the end of what is left at its old host.

    Nothing inside the guest ends. Transient when the target does not become ready; the instance then stays where it is.
    ``on_resumed`` is told when the guest was paused and when it ran again.
    """
    with lab_lock(lab):
        state = load_state(lab)
        layout = plan_layout(state.topology)
        instance = _instance(state, name)
        api = open_api(layout, project)
        source_netns, target_netns = _host_netns(layout, instance.host), _host_netns(layout, target)
        if target == instance.host:
            raise InvalidInput(f"{name} is on {target} already", field="--to")
        told = len(events(layout))
        path = f"ports/{instance.port}/bindings"
        binding = {"host": target, "vnic_type": "normal", "profile": {}}
        bound = api.call("POST", path, {"binding": binding})["binding"]
        moved = msgspec.structs.replace(
            instance, host=target, interface="eth1" if instance.interface == "eth0" else "eth0"
        )
        try:
            _check_bound({f"binding:{key}": value for key, value in bound.items()}, target)
            port = api.port(instance.port)
            prepare_move(instance, target_netns, _tap_mac(port), _mtu(api, port), moved.interface)
            _until_plugged(layout, api, moved, told)
        except CalicoError:
            with suppress(CalicoError):
                unplug(instance, target_netns)
            with suppress(CalicoError):
                api.call("DELETE", f"{path}/{target}")
            raise
        on_resumed(*move_guest(instance, moved.interface))
        _remember(state, moved)
        api.call("PUT", f"{path}/{target}/activate")
        unplug(instance, source_netns)
        api.call("DELETE", f"{path}/{instance.host}")
        return moved


def events(layout: Layout) -> list[dict[str, str]]:
    """What Neutron told Nova, in order."""
    try:
        lines = events_file(layout).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def _until_plugged(layout: Layout, api: NeutronApi, instance: Instance, told: int) -> None:
    deadline = time.monotonic() + _PLUGGED_S
    while not any(
        event["name"] == "network-vif-plugged" and event.get("tag") == instance.port for event in events(layout)[told:]
    ):
        if time.monotonic() > deadline:
            status = api.port(instance.port)["status"]
            raise Transient(
                f"Neutron did not say within {_PLUGGED_S:.0f} s that {instance.name} is plugged on {instance.host}; "
                f"its port {instance.port} is {status}"
            )
        time.sleep(_POLL_S)


def _check_bound(port: dict[str, Any], host: str) -> None:
    if port.get("binding:vif_type") != "tap":
        raise Transient(
            f"Neutron did not bind the port to {host} ({port.get('binding:vif_type')}): does Felix run there? "
            "calico lab openstack api GET agents"
        )


def _check_name(state: LabState, layout: Layout, name: str) -> None:
    if not NODE_NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} must be 1-32 lower-case letters, digits and inner dashes", field="NAME")
    if name in state.instances or name in layout.namespaces():
        raise AlreadyExists(f"lab {layout.name!r} has a machine {name!r}")


def _host_netns(layout: Layout, host: str) -> str:
    for plan in layout.hosts:
        if plan.host.name == host:
            return plan.netns
    raise NotFound(f"lab {layout.name!r} has no host {host!r}; it has {', '.join(p.host.name for p in layout.hosts)}")


def _instance(state: LabState, name: str) -> Instance:
    if name not in state.instances:
        known = ", ".join(state.instances) or "none"
        raise NotFound(f"lab {state.topology.name!r} has no instance {name!r}; it has {known}")
    return state.instances[name]


def _remember(state: LabState, instance: Instance) -> LabState:
    state = msgspec.structs.replace(state, instances={**state.instances, instance.name: instance})
    save_state(state)
    return state


def _tap_mac(port: dict[str, Any]) -> str:
    """What the driver wants the tap to have; without a word of it, what Nova makes of the port's."""
    return str(port["binding:vif_details"].get("mac_address") or f"fe{port['mac_address'][2:]}")


def _mtu(api: NeutronApi, port: dict[str, Any]) -> int:
    return int(api.call("GET", f"networks/{port['network_id']}")["network"].get("mtu") or _MTU)
