"""The monitor's view equals the kernel's, also when events are lost."""

from __future__ import annotations

import asyncio

from calico.dataplane.interfaces import InterfaceMonitor
from calico.lib.packed import addr_bytes


def monitor_into(seen, **options):
    return InterfaceMonitor(lambda name, interface: seen.append((name, interface)), **options)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


def test_what_is_there_at_the_start_is_reported_once_and_other_names_never(host):
    host.links.create_veth("cali1", "other1")

    async def scenario():
        seen = []
        monitor = monitor_into(seen)
        monitor.start()
        assert [name for name, _ in seen] == ["cali1"]
        host.links.create_veth("tap1", "other2")
        host.links.create_veth("cali2", "other3")
        await until(lambda: any(name == "cali2" and i is not None and i.oper_up for name, i in seen))
        monitor.stop()
        assert {name for name, _ in seen} == {"cali1", "cali2"}

    host.run(scenario)


def test_addresses_and_state_follow_the_kernel(host):
    async def scenario():
        seen = []
        monitor = monitor_into(seen)
        monitor.start()
        host.links.create_veth("cali1", "p1", up=False, mac=bytes.fromhex("eeeeeeeeeeee"))
        await until(lambda: "cali1" in monitor.interfaces)
        assert not monitor.interfaces["cali1"].up
        assert monitor.interfaces["cali1"].mac == bytes.fromhex("eeeeeeeeeeee")
        host.links.set_up("cali1")
        await until(lambda: monitor.interfaces["cali1"].up)
        assert not monitor.interfaces["cali1"].oper_up
        host.links.set_up("p1")
        host.links.add_address("cali1", "10.0.0.1/24")
        await until(lambda: monitor.interfaces["cali1"].oper_up)
        await until(lambda: addr_bytes("10.0.0.1") in monitor.interfaces["cali1"].addresses)
        host.links.delete_address("cali1", "10.0.0.1/24")
        await until(lambda: addr_bytes("10.0.0.1") not in monitor.interfaces["cali1"].addresses)
        monitor.stop()

    host.run(scenario)


def test_an_interface_made_again_under_its_name_is_gone_first(host):
    host.links.create_veth("cali1", "p1")

    async def scenario():
        seen = []
        monitor = monitor_into(seen)
        monitor.start()
        first = monitor.interfaces["cali1"].index
        host.links.delete("cali1")
        host.links.create_veth("cali1", "p1")
        await until(lambda: "cali1" in monitor.interfaces and monitor.interfaces["cali1"].index != first)
        indexes = [interface.index if interface else None for _, interface in seen]
        gone = indexes.index(None)
        assert set(indexes[:gone]) == {first}
        assert first not in indexes[gone:]
        monitor.stop()

    host.run(scenario)


def test_a_renamed_interface_is_gone_under_its_old_name(host):
    host.links.create_veth("cali1", "p1", up=False)

    async def scenario():
        seen = []
        monitor = monitor_into(seen)
        monitor.start()
        host.links.rename("cali1", "cali9")
        await until(lambda: "cali9" in monitor.interfaces)
        assert ("cali1", None) in seen
        host.links.rename("cali9", "other")
        await until(lambda: not monitor.interfaces)
        monitor.stop()

    host.run(scenario)


def test_lost_events_lead_to_a_full_read_and_the_right_view(host):
    host.links.create_veth("cali-old", "p-old")

    async def scenario():
        seen, resyncs = [], []
        monitor = monitor_into(seen, rcvbuf=4096, on_resync=lambda: resyncs.append(1))
        monitor.start()
        for n in range(40):
            host.links.create_veth(f"cali{n}", f"p{n}")
        host.links.delete("cali-old")
        host.links.delete("cali0")
        await until(lambda: bool(resyncs))
        await until(lambda: all(i.oper_up for i in monitor.interfaces.values()))
        assert set(monitor.interfaces) == {f"cali{n}" for n in range(1, 40)}
        assert ("cali-old", None) in seen
        kernel = {link.name: link.index for link in host.links.all() if link.name.startswith("cali")}
        assert {name: i.index for name, i in monitor.interfaces.items()} == kernel
        monitor.stop()

    host.run(scenario)
