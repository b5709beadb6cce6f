"""The controller of a lab with a cloud: its processes as records, and what must be made before they can start."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from calico.errors import Transient
from calico.lab.addressing import HostPlan, Layout
from calico.lab.openstack import postgres
from calico.lab.openstack.configuration import API_PORT, METADATA_PORT, Controller, neutron_files, trusting_paste
from calico.lab.openstack.environment import Environment, find_environment
from calico.lab.processes import daemon_environment
from calico.lab.state import ProcessRecord, lab_dir

__all__ = [
    "agent_record",
    "ask_database",
    "controller_records",
    "events_file",
    "make_database",
    "neutron_command",
    "prepare_controller",
    "run_in_controller",
]

MACHINE = "controller"
_DATABASE_S = 60.0
_PROGRAM_S = 180.0


def controller_records(layout: Layout) -> Iterator[ProcessRecord]:
    """PostgreSQL, the stand-in for Nova, the API, the workers. NotFound when their programs are missing."""
    environment, controller = _found(layout), _controller(layout)
    yield _record(layout, "postgres", postgres.server_argv(environment.postgres, _data(layout)))
    nova = (sys.executable, "-m", "calico.lab.openstack.nova", str(events_file(layout)), str(_secret_file(layout)))
    yield _record(layout, "nova", (*nova, controller.address))
    yield _record(
        layout,
        "api",
        tuple(_api_argv(environment, controller)),
        OS_NEUTRON_CONFIG_DIR=f"{controller.directory}/",
        OS_NEUTRON_CONFIG_FILES=";".join(neutron_files(controller)),
    )
    workers = ("neutron-periodic-workers",) if environment.starts_workers else ("calico", "openstack", "worker")
    yield _record(layout, "workers", neutron_command(layout, *workers))


def agent_record(layout: Layout, plan: HostPlan, proxy_url: str) -> ProcessRecord:
    """The agent of a compute host."""
    assert layout.controller is not None
    directory = lab_dir(layout.name) / plan.host.name
    log = f"{directory}/openstack.log"
    options = {
        "--node": plan.host.name,
        "--etcd-endpoints": proxy_url,
        "--run-dir": str(directory),
        "--state-dir": f"{directory}/openstack",
        "--metadata-url": f"http://{layout.controller.address4}:{METADATA_PORT}",
        "--metadata-secret-file": str(_secret_file(layout)),
        "--log-file": log,
    }
    given = [part for option in options.items() for part in option]
    argv = (sys.executable, "-m", "calico", "openstack", "agent", *given)
    return ProcessRecord(kind="openstack", machine=plan.host.name, netns=plan.netns, argv=argv, log=log)


def events_file(layout: Layout) -> Path:
    """What Nova was told: one JSON document a line."""
    return lab_dir(layout.name) / MACHINE / "nova-events.jsonl"


def neutron_command(layout: Layout, name: str, *arguments: str) -> tuple[str, ...]:
    """A program of Neutron's environment with the lab's configuration files."""
    controller = _controller(layout)
    files = [part for file in neutron_files(controller) for part in ("--config-file", f"{controller.directory}/{file}")]
    return (_found(layout).program(name), *arguments, *files)


def prepare_controller(layout: Layout) -> None:
    """Write the files and make an empty cluster of PostgreSQL: what comes before the first process."""
    environment, controller = _found(layout), _controller(layout)
    directory = Path(controller.directory)
    (directory / "neutron/lock").mkdir(mode=0o755, parents=True, exist_ok=True)
    paste = (environment.neutron / "etc/neutron/api-paste.ini").read_text()
    for name, text in {**neutron_files(controller), "api-paste.ini": trusting_paste(paste)}.items():
        (directory / name).write_text(text)
    assert layout.topology.openstack is not None
    secret = _secret_file(layout)
    secret.touch(mode=0o600)
    secret.write_text(layout.topology.openstack.metadata_secret)
    postgres.own_directory(_data(layout))
    _run(layout, postgres.create_argv(environment.postgres, _data(layout)))


def make_database(layout: Layout) -> None:
    """Wait for PostgreSQL and make all tables. Transient with the last words of what failed."""
    environment = _found(layout)
    deadline = time.monotonic() + _DATABASE_S
    while run_in_controller(layout, postgres.ready_argv(environment.postgres)).returncode != 0:
        if time.monotonic() > deadline:
            raise Transient(f"PostgreSQL does not answer; log: {lab_dir(layout.name) / MACHINE}/postgres.log")
        time.sleep(0.1)
    _run(layout, postgres.sql_argv(environment.postgres, "CREATE DATABASE neutron", "postgres"))
    schema = str(Path(__file__).with_name("schema.py"))
    _run(layout, (environment.program("python"), schema, _controller(layout).database))
    _run(layout, (*neutron_command(layout, "neutron-db-manage"), "--subproject", "calico-network", "upgrade", "heads"))


def ask_database(layout: Layout, sql: str) -> list[list[str]]:
    """Rows of a statement, as text."""
    told = _run(layout, postgres.sql_argv(_found(layout).postgres, sql))
    return [line.split("\t") for line in told.splitlines()]


def run_in_controller(layout: Layout, argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """A program in the controller's namespace, with the environment of the lab's daemons."""
    command = ["nsenter", f"--net=/run/netns/{layout.netns(MACHINE)}", *argv]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=daemon_environment(layout.name),
        cwd="/",
        timeout=_PROGRAM_S,
    )


def _run(layout: Layout, argv: tuple[str, ...]) -> str:
    done = run_in_controller(layout, argv)
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip().splitlines()[-5:] or ["it said nothing"]
        raise Transient(f"{' '.join(argv)} failed with {done.returncode}: " + "\n".join(last))
    return done.stdout


def _found(layout: Layout) -> Environment:
    assert layout.topology.openstack is not None
    return find_environment(layout.topology.openstack.environment)


def _controller(layout: Layout) -> Controller:
    assert layout.topology.openstack is not None
    assert layout.controller is not None
    return Controller(
        directory=str(lab_dir(layout.name) / MACHINE),
        address=layout.controller.address4,
        etcd=[f"http://{endpoint}" for endpoint in layout.etcd_endpoints],
        settings=layout.topology.openstack.settings,
    )


def _record(layout: Layout, kind: str, argv: tuple[str, ...], **environment: str) -> ProcessRecord:
    log = f"{lab_dir(layout.name)}/{MACHINE}/{kind}.log"
    netns = layout.netns(MACHINE)
    document = {"kind": kind, "machine": MACHINE, "netns": netns, "argv": argv, "log": log, "environment": environment}
    return msgspec.convert(document, ProcessRecord)


def _api_argv(environment: Environment, controller: Controller) -> Iterator[str]:
    yield environment.program("uwsgi")
    yield from ("--http-socket", f"{controller.address}:{API_PORT}", "--module", "neutron.wsgi.api:application")
    yield from ("--processes", "1", "--threads", "4", "--enable-threads", "--master", "--die-on-term", "--need-app")
    # without the header a client that keeps its connection loses one call in four
    yield from ("--lazy-apps", "--thunder-lock", "--add-header", "Connection: close", "--buffer-size", "65535")
    yield from ("--pyhome", str(environment.neutron))


def _data(layout: Layout) -> Path:
    return lab_dir(layout.name) / MACHINE / "postgres"


def _secret_file(layout: Layout) -> Path:
    return lab_dir(layout.name) / MACHINE / "metadata-secret"
