"""The objects that install Calico in a cluster: what options ask for is there, what contradicts itself is named."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from calico.cli.cni import cni_daemon
from calico.cli.daemons import bgp, felix
from calico.cli.kubernetes.manifests.objects import objects
from calico.cli.kubernetes.manifests.settings import EtcdFiles, ManifestSettings
from calico.cli.main import cli
from calico.errors import InvalidInput

PLAIN = ManifestSettings(etcd_endpoints=("http://192.0.2.1:2379",), image="localhost/calico:1", pools=("10.65.0.0/16",))


def _with(**options: Any) -> ManifestSettings:
    return ManifestSettings(**{name: getattr(PLAIN, name) for name in PLAIN.__struct_fields__} | options)


def _of(settings: ManifestSettings, kind: str) -> list[dict[str, Any]]:
    return [document for document in objects(settings) if document["kind"] == kind]


def _containers(settings: ManifestSettings) -> list[dict[str, Any]]:
    found = []
    for kind in ("DaemonSet", "Deployment", "Job"):
        for document in _of(settings, kind):
            spec = document["spec"]["template"]["spec"]
            found += [*spec.get("initContainers", ()), *spec["containers"]]
    return found


def _command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words name, and the words after it."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, words
        command, words = found, words[1:]
    return command, words


def test_every_container_runs_a_command_that_there_is_with_options_that_it_has() -> None:
    for container in _containers(PLAIN):
        program, *words = container["command"]
        command, rest = _command_of(words)
        assert program == "calico"
        command.make_context(shlex.join(words), rest, resilient_parsing=False)


def test_each_volume_that_is_mounted_is_there_and_each_that_is_there_is_mounted() -> None:
    for settings in (PLAIN, _with(etcd_endpoints=("https://e:2379",), etcd_secret="certs")):
        for kind in ("DaemonSet", "Deployment", "Job"):
            for document in _of(settings, kind):
                spec = document["spec"]["template"]["spec"]
                mounted = {
                    mount["name"]
                    for container in [*spec.get("initContainers", ()), *spec["containers"]]
                    for mount in container["volumeMounts"]
                }
                assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_only_who_writes_settings_of_the_kernel_is_privileged_and_others_have_the_rights_of_their_units() -> None:
    rights = {container["name"]: container["securityContext"] for container in _containers(PLAIN)}
    assert {name for name, right in rights.items() if right.get("privileged")} == {"felix", "cni"}
    assert rights["bgp"]["capabilities"]["add"] == ["NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"]
    assert rights["controllers"]["capabilities"] == {"drop": ["ALL"], "add": []}


def test_certificates_reach_every_container_as_files_that_its_environment_names() -> None:
    files = EtcdFiles("CA", "CERT", "KEY")
    endpoints = ("https://192.0.2.1:2379", "https://192.0.2.2:2379")
    settings = _with(etcd_endpoints=endpoints, etcd_secret="calico-etcd", etcd_client_cert=True, etcd_files=files)
    (secret,) = _of(settings, "Secret")
    assert secret["stringData"] == {"ca.crt": "CA", "tls.crt": "CERT", "tls.key": "KEY"}
    for container in _containers(settings):
        environment = {entry["name"]: entry.get("value") for entry in container["env"]}
        folder = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}["etcd-certificates"]
        assert environment["ETCD_KEY_FILE"] == f"{folder}/tls.key"
        assert environment["ETCD_CA_CERT_FILE"] == f"{folder}/ca.crt"


@pytest.mark.parametrize(
    ("pools", "v4", "v6"),
    [((), "true", "false"), (("10.65.0.0/16",), "true", "false"), (("fd65::/48",), "false", "true"),
     (("10.65.0.0/16", "fd65::/48"), "true", "true")],
)  # fmt: skip
def test_pods_get_addresses_of_the_families_that_have_pools(pools: tuple[str, ...], v4: str, v6: str) -> None:
    settings = _with(pools=pools, encapsulation="VXLANCrossSubnet")
    (config,) = _of(settings, "ConfigMap")
    network = json.loads(config["data"]["cni_network"])
    ipam = network["plugins"][0]["ipam"]
    assert (ipam["assign_ipv4"], ipam["assign_ipv6"]) == (v4, v6)
    assert [plugin["type"] for plugin in network["plugins"]] == ["calico", "portmap", "bandwidth"]
    stored = list(yaml.safe_load_all(config["data"]["resources.yaml"])) if pools else []
    assert [(pool["spec"]["cidr"], pool["spec"]["vxlanMode"]) for pool in stored] == [(p, "CrossSubnet") for p in pools]
    assert len(_of(settings, "Job")) == bool(pools)


def test_without_bgp_there_is_no_bird() -> None:
    names = {container["name"] for container in _containers(_with(bgp=False, encapsulation="VXLAN"))}
    assert names == {"guard", "node", "kubeconfig", "install", "felix", "cni", "controllers", "pools"}


def test_all_that_has_a_namespace_is_in_the_one_that_is_asked_for() -> None:
    for document in objects(_with(namespace="calico-system")):
        cluster_wide = document["kind"] in ("ClusterRole", "ClusterRoleBinding")
        assert document["metadata"].get("namespace") == (None if cluster_wide else "calico-system")
        for subject in document.get("subjects", ()):
            assert subject["namespace"] == "calico-system"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"etcd_endpoints": ()}, "--etcd-endpoints"),
        ({"etcd_endpoints": ("192.0.2.1:2379",)}, "--etcd-endpoints"),
        ({"etcd_endpoints": ("https://192.0.2.1:2379",)}, "--etcd-endpoints"),
        ({"etcd_secret": "certs"}, "--etcd-endpoints"),
        ({"pools": ("10.65.0.1/16",)}, "--pool"),
        ({"pools": ("10.65.0.0/16", "10.66.0.0/16")}, "--pool"),
        ({"bgp": False}, "--no-bgp"),
        ({"cni_version": "9.9.9"}, "--cni-version"),
        ({"cni_bin_dir": "opt"}, "--cni-bin-dir"),
    ],
)
def test_what_cannot_work_is_refused_with_the_option_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        objects(_with(**options))
    assert caught.value.field == field


def test_the_command_prints_documents_that_yaml_reads_back(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("CA\n")
    options = ["--etcd-endpoints", "https://a:2379, https://b:2379", "--image", "localhost/calico:1"]
    command = ["kubernetes", "manifest", *options, "--etcd-ca-file", str(tmp_path / "ca")]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    documents = list(yaml.safe_load_all(done.output))
    assert {"DaemonSet", "Deployment", "ConfigMap", "Secret", "ClusterRole"} <= {item["kind"] for item in documents}
    as_json = json.loads(CliRunner().invoke(cli, [*command, "-o", "json"]).output)
    assert as_json["items"] == documents


def test_the_daemons_of_the_manifest_are_those_of_the_units() -> None:
    commands = {container["name"]: container["command"][1] for container in _containers(PLAIN)}
    assert [commands[name] for name in ("felix", "bgp", "cni")] == [felix.name, bgp.name, cni_daemon.name]
