"""A store in which every kind is there and things refer to each other, as host ``h1`` sees it."""

from __future__ import annotations

import json
from typing import Any

from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY
from calico.model.keys import RESOURCE_PREFIX

__all__ = ["AFFINITIES", "GOOD", "HOST", "SECRETS"]

HOST = "h1"
AFFINITIES = f"/calico/ipam/v2/host/{HOST}/"
SECRETS = "/calico/bgp/v1/secrets/"


def _endpoint(host: str, namespace: str, pod: str, number: int, **more: Any) -> dict[str, Any]:
    spec = {
        "orchestrator": "k8s",
        "node": host,
        "pod": pod,
        "endpoint": "eth0",
        "interfaceName": f"cali{host}{pod}",
        "mac": "ee:ee:ee:ee:ee:ee",
        "ipNetworks": [f"10.65.0.{number}/32", f"fd65::{number}/128"],
        "profiles": [f"kns.{namespace}", f"ksa.{namespace}.default"],
        "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
        **more,
    }
    labels = {"app": pod, "projectcalico.org/namespace": namespace, "projectcalico.org/orchestrator": "k8s"}
    return {"metadata": {"labels": labels}, "spec": spec}


_FROM_WEB = {"selector": "app == 'web'", "namespaceSelector": "has(team)"}
_TO_HTTP = {"ports": ["http", 443, "8000:8010"]}
_HTTP = {"action": "Allow", "protocol": "TCP", "source": _FROM_WEB, "destination": _TO_HTTP}
_PING = {"action": "Deny", "protocol": "ICMP", "icmp": {"type": 8, "code": 0}, "notICMP": {"type": 3}}
_LOGGED = {"action": "Log", "protocol": 17, "destination": {"nets": ["fd65::/64"], "notPorts": [53]}}
_ACCOUNTS = {"action": "Pass", "source": {"serviceAccounts": {"names": ["a"], "selector": "has(role)"}}}
_SETS = {"action": "Deny", "source": {"selector": "role == 'bad'", "notNets": ["10.66.0.0/16"]}}
_PEER = {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}}
_RULE_V4 = {"action": "Accept", "cidr": "10.65.0.0/16", "matchOperator": "In", "prefixLength": {"min": 20, "max": 30}}

_RESOURCES: dict[str, dict[str, Any]] = {
    "nodes/h1": {
        "metadata": {"labels": {"rack": "r1"}},
        "spec": {
            "bgp": {"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1/64", "asNumber": 64512},
            "addresses": [{"address": "10.0.0.1", "type": "InternalIP"}],
            "orchRefs": [{"nodeName": "h1", "orchestrator": "k8s"}],
        },
        "status": {"podCIDRs": ["10.65.0.0/24"]},
    },
    "nodes/h2": {"metadata": {"labels": {"rack": "r2"}}, "spec": {"bgp": {"ipv4Address": "10.0.0.2/24"}}},
    "tiers/default": {"spec": {"order": 1000000, "defaultAction": "Deny"}, "status": {}},
    "tiers/first": {"spec": {"order": 10, "defaultAction": "Pass"}},
    "profiles/kns.prod": {"spec": {"ingress": [{"action": "Allow"}], "labelsToApply": {"pcns.team": "a"}}},
    "profiles/kns.test": {"spec": {"egress": [{"action": "Allow"}], "labelsToApply": {"pcns.team": "b"}}},
    "profiles/ksa.prod.default": {"spec": {"labelsToApply": {"pcsa.role": "x"}}},
    "workloadendpoints/prod/h1-k8s-web-eth0": _endpoint(
        HOST, "prod", "web", 1, qosControls={"ingressBandwidth": 1000000, "dscp": "AF11"},
        ipNATs=[{"internalIP": "10.65.0.1", "externalIP": "192.0.2.1"}],
    ),
    "workloadendpoints/test/h1-k8s-db-eth0": _endpoint(HOST, "test", "db", 2, ipv4Gateway="169.254.1.1"),
    "workloadendpoints/prod/h2-k8s-far-eth0": _endpoint("h2", "prod", "far", 3),
    "hostendpoints/h1-eth0": {
        "metadata": {"labels": {"role": "edge"}},
        "spec": {
            "node": HOST,
            "interfaceName": "eth0",
            "expectedIPs": ["10.0.0.1"],
            "profiles": ["kns.prod"],
            "ports": [{"name": "ssh", "protocol": "TCP", "port": 22}],
        },
    },
    "networkpolicies/prod/default.old": {"spec": {"selector": "app == 'web'", "ingress": [_HTTP, _PING]}},
    "networkpolicies/test/new": {
        "metadata": {"annotations": {"projectcalico.org/metadata": '{"name":"new"}'}},
        "spec": {"tier": "first", "order": 5, "types": ["Egress"], "egress": [_LOGGED, _ACCOUNTS, _SETS]},
    },
    "globalnetworkpolicies/all": {
        "spec": {"namespaceSelector": "has(team)", "order": 7.5, "egress": [_SETS], "performanceHints": []}
    },
    "globalnetworkpolicies/forward": {
        "spec": {"selector": "role == 'edge'", "applyOnForward": True, "doNotTrack": True, "ingress": [_PING]}
    },
    "stagednetworkpolicies/prod/draft": {"spec": {"stagedAction": "Set", "selector": "all()", "ingress": [_HTTP]}},
    "stagedglobalnetworkpolicies/gone": {"spec": {"stagedAction": "Delete", "tier": "default"}},
    "stagedkubernetesnetworkpolicies/prod/k8s": {
        "spec": {
            "podSelector": {"matchLabels": {"app": "web"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [_PEER, {"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 80}]}],
        }
    },
    "networksets/prod/bad": {"metadata": {"labels": {"role": "bad"}}, "spec": {"nets": ["10.66.0.0/16", "fd66::1"]}},
    "globalnetworksets/worse": {"metadata": {"labels": {"role": "bad"}}, "spec": {"nets": ["10.67.0.0/16"]}},
    "ippools/v4": {"spec": {"cidr": "10.65.0.0/16", "natOutgoing": True, "nodeSelector": "all()", "blockSize": 26}},
    "ippools/v6": {"spec": {"cidr": "fd65::/64", "disableBGPExport": True}},
    "bgpconfigurations/default": {
        "spec": {
            "asNumber": 64512,
            "communities": [{"name": "blue", "value": "65000:5"}],
            "prefixAdvertisements": [{"cidr": "10.65.0.0/24", "communities": ["blue"]}],
            "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}],
        }
    },
    "bgpconfigurations/node.h1": {"spec": {"logSeverityScreen": "Debug", "listenPort": 1790}},
    "bgppeers/tor": {
        "spec": {
            "node": HOST,
            "peerIP": "10.0.0.9:179",
            "asNumber": 65009,
            "filters": ["edge"],
            "password": {"secretKeyRef": {"name": "tor", "key": "md5"}},
        }
    },
    "bgppeers/racks": {"spec": {"nodeSelector": "has(rack)", "peerSelector": "rack == 'r2'"}},
    "bgpfilters/edge": {"spec": {"exportV4": [_RULE_V4], "importV6": [{"action": "Reject", "source": "RemotePeers"}]}},
    "felixconfigurations/default": {"spec": {"bpfLogLevel": "", "logPrefix": "calico", "floatingIPs": "Enabled"}},
    "felixconfigurations/node.h1": {
        "metadata": {"annotations": {"config.projectcalico.org/ReportingIntervalSecs": "20"}},
        "spec": {
            "defaultEndpointToHostAction": "Return",
            "failsafeInboundHostPorts": [{"protocol": "tcp", "port": 22, "net": "10.0.0.0/8"}],
            "iptablesMarkMask": 4294901760,
            "routeRefreshInterval": "1m30s",
            "natPortRange": "1000:2000",
        },
    },
    "felixconfigurations/racks": {"spec": {"nodeSelector": "rack == 'r1'", "logActionRateLimit": "5/minute"}},
    "ipreservations/some": {"spec": {"reservedCIDRs": ["10.65.0.9", "10.65.1.0/24"]}},
    "ipamconfigurations/default": {"spec": {"strictAffinity": False, "autoAllocateBlocks": True}},
    "ipamconfigs/default": {"spec": {"strictAffinity": False, "autoAllocateBlocks": True}},
    "blockaffinities/h1-10-65-0-0-26": {
        "spec": {"state": "confirmed", "node": HOST, "cidr": "10.65.0.0/26", "deleted": "false"}
    },
    "kubecontrollersconfigurations/default": {
        "spec": {"controllers": {"node": {"hostEndpoint": {"templates": [{"interfacePattern": "eth.*"}]}}}},
        "status": {"environmentVars": {"A": "b"}},
    },
    "caliconodestatuses/how-is-h1": {
        "spec": {"node": HOST, "classes": ["Agent", "BGP", "Routes"], "updatePeriodSeconds": 10},
        "status": {
            "lastUpdated": "2026-08-22T13:33:20Z",
            "agent": {"birdV4": {"state": "Ready", "version": "2.0.12", "routerID": "10.0.0.1"}, "birdV6": {}},
            "bgp": {
                "numberEstablishedV4": 1,
                "peersV4": [{"peerIP": "10.0.0.9", "type": "NodePeer", "state": "Established", "since": "13:30:01"}],
            },
            "routes": {
                "routesV4": [
                    {
                        "type": "FIB",
                        "destination": "10.66.0.0/24",
                        "gateway": "10.0.0.9",
                        "interface": "eth0",
                        "learnedFrom": {"sourceType": "BGPPeer", "peerIP": "10.0.0.9"},
                    }
                ]
            },
        },
    },
    "livemigrations/test/moving": {
        "spec": {"target": {"workloadEndpoint": {"hostname": HOST, "workloadID": "test/db"}}}
    },
}  # fmt: skip

GOOD: dict[str, bytes] = {
    CLUSTER_INFO_KEY: b'{"spec":{"clusterGUID":"0123456789abcdef","clusterType":"k8s,bgp","datastoreReady":true}}',
    **{RESOURCE_PREFIX + path: json.dumps(document).encode() for path, document in _RESOURCES.items()},
    f"{AFFINITIES}ipv4/block/10.65.0.0-26": b'{"state":"confirmed","deleted":false}',
    f"{AFFINITIES}ipv6/block/fd65::-122": b"",
    f"{SECRETS}tor/md5": b"correct horse",
}
"""Raw values by key."""
