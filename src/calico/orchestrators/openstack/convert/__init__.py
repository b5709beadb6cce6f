"""Neutron's objects to the documents that mirror them in etcd, and both compared. Pure.

Each function converts one object, at the cost of that object, so that a change of one costs no more. What cannot be
carried out allows nothing and is told as a ``Problem``.
"""

from calico.orchestrators.openstack.convert.cluster import CLUSTER_TYPE, completed_felix
from calico.orchestrators.openstack.convert.compare import Change, Difference, compare, compare_all, to_store
from calico.orchestrators.openstack.convert.documents import Converted, Document, Options, Problem
from calico.orchestrators.openstack.convert.groups import convert_address_group, convert_security_group
from calico.orchestrators.openstack.convert.isolation import (
    convert_isolation_tier,
    convert_network_isolation,
    convert_project_isolation,
)
from calico.orchestrators.openstack.convert.ports import convert_port, endpoint_hosts, is_endpoint
from calico.orchestrators.openstack.convert.subnets import convert_subnet

__all__ = [
    "CLUSTER_TYPE",
    "Change",
    "Converted",
    "Difference",
    "Document",
    "Options",
    "Problem",
    "compare",
    "compare_all",
    "completed_felix",
    "convert_address_group",
    "convert_isolation_tier",
    "convert_network_isolation",
    "convert_port",
    "convert_project_isolation",
    "convert_security_group",
    "convert_subnet",
    "endpoint_hosts",
    "is_endpoint",
    "to_store",
]
