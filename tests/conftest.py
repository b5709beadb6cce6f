"""What every test may rely on: a test whose privilege or program is missing is skipped with the reason printed."""

import os
import shutil

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "calm",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
if hypothesis.settings().deadline is not None:  # mutation testing has loaded a profile of its own
    hypothesis.settings.load_profile("calm")  # a machine that is busy fails no test

_PROGRAMS = {
    "etcd": ("etcd",),
    "bird": ("bird",),
    "lab": ("etcd", "bird", "nsenter"),
    "runtimes": ("containerd", "runc", "podman", "/usr/lib/cni/ptp", "/bin/busybox"),
    "routers": ("/usr/lib/frr/bgpd", "gobgpd"),
    "neutron": ("etcd", "etcdctl"),  # and an environment with Neutron, which the stack's fixture looks for
}


def _missing(item: pytest.Item) -> str | None:
    needs_root = any(item.get_closest_marker(name) for name in ("root", "lab"))
    if needs_root and os.geteuid() != 0:
        return "needs root with CAP_NET_ADMIN"
    for marker, programs in _PROGRAMS.items():
        if item.get_closest_marker(marker):
            for program in programs:
                if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
                    return f"needs the program {program}"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reason = _missing(item)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests counted (``record_property("counted", ...)``) is printed, also when they pass."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    counted = [(r.nodeid, value) for r in reports for name, value in r.user_properties if name == "counted"]
    for nodeid, value in sorted(set(counted)):
        terminalreporter.write_line(f"{nodeid}: {value}")
