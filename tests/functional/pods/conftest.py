"""A host with etcd, Felix, the daemon and a real kube-apiserver that tests share; each begins with nothing attached."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from api_world import ApiWorld, until

_BUILD = Path(__file__).parents[3] / "packaging" / "kubernetes" / "build"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.etcd)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root to make network namespaces"))


@pytest.fixture(scope="session")
def running_world() -> Iterator[ApiWorld]:
    folder = Path(subprocess.run([str(_BUILD), "--where"], capture_output=True, text=True, check=True).stdout.strip())
    if not (folder / "kube-apiserver").exists():
        pytest.skip(f"KUBERNETES IS NOT BUILT: packaging/kubernetes/build makes kube-apiserver in {folder}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a run cut short cleans up as well
    made = ApiWorld(folder)
    try:
        made.start_etcd()
        made.cluster()
        made.start_felix()
        made.install()
        made.start_api()
        made.prepare()
        made.start_daemon()
        yield made
    finally:
        for name in ("felix", "daemon", "api"):
            print(f"--- {name}\n{made.log(name)}")
        made.close()


@pytest.fixture
def world(running_world: ApiWorld) -> Iterator[ApiWorld]:
    """The shared host; whatever a test did, everything runs again and nothing is attached."""
    made = running_world
    for name, start in (("api", made.start_api), ("felix", made.start_felix), ("daemon", made.start_daemon)):
        if name not in made.processes or made.processes[name].poll() is not None:
            made.processes.pop(name, None)
            start()
    made.write_kubeconfig()
    made.cluster()
    yield made
    from calico.dataplane.netns import delete_netns

    made.clear_api()
    for name in made.names[1:]:
        delete_netns(name)
    del made.names[1:]
    for prefix in ("/calico/resources/v3/projectcalico.org/workloadendpoints/", "/calico/ipam", "/calico/ipamgc"):
        made.etcdctl("del", "--prefix", prefix)
    until(lambda: not made.cables, "the host has no cables")  # the kernel ends namespaces in its own time
    for path in made.state_dir.rglob("*.json"):
        path.unlink()
