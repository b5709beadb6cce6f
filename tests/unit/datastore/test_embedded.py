from __future__ import annotations

from pathlib import Path

from calico.datastore.etcd.backend import TLSFiles
from calico.datastore.etcd.server import EtcdConfig, etcd_argv

CONFIG = EtcdConfig(
    name="a", data_dir=Path("/data/a"), client_url="http://10.0.0.1:2379", peer_url="http://10.0.0.1:2380"
)


def test_a_single_member_is_a_cluster_of_itself() -> None:
    argv = etcd_argv(CONFIG, "etcd")
    assert "--initial-cluster=a=http://10.0.0.1:2380" in argv
    assert "--initial-cluster-state=new" in argv
    assert "--pre-vote" in argv


def test_durability_is_given_up_only_when_asked() -> None:
    assert "--unsafe-no-fsync" not in etcd_argv(CONFIG, "etcd")
    unsafe = EtcdConfig(
        name="a", data_dir=Path("/d"), client_url="http://h:1", peer_url="http://h:2", unsafe_no_fsync=True
    )
    assert "--unsafe-no-fsync" in etcd_argv(unsafe, "etcd")


def test_members_know_each_other_and_may_run_elsewhere() -> None:
    config = EtcdConfig(
        name="b",
        data_dir=Path("/data/b"),
        client_url="http://10.0.0.2:2379",
        peer_url="http://10.0.0.2:2380",
        cluster={"a": "http://10.0.0.1:2380", "b": "http://10.0.0.2:2380"},
        existing=True,
        argv_prefix=("nsenter", "--net=/run/netns/b"),
    )
    argv = etcd_argv(config, "/usr/bin/etcd")
    assert argv[:3] == ["nsenter", "--net=/run/netns/b", "/usr/bin/etcd"]
    assert "--initial-cluster=a=http://10.0.0.1:2380,b=http://10.0.0.2:2380" in argv
    assert "--initial-cluster-state=existing" in argv


def test_a_ca_makes_client_certificates_mandatory() -> None:
    tls = TLSFiles(Path("/ca"), Path("/cert"), Path("/key"))
    config = EtcdConfig(name="a", data_dir=Path("/d"), client_url="https://h:1", peer_url="http://h:2", tls=tls)
    argv = etcd_argv(config, "etcd")
    for flag in ("--cert-file=/cert", "--key-file=/key", "--trusted-ca-file=/ca", "--client-cert-auth"):
        assert flag in argv
