"""The parts of a lab's cloud that need none: what its file may say, addresses, Neutron's files, and errors."""

import configparser

import pytest

from calico.errors import InvalidInput, NotFound
from calico.lab.addressing import plan_layout
from calico.lab.openstack.api import open_api
from calico.lab.openstack.configuration import Controller, neutron_files, trusting_paste
from calico.lab.openstack.environment import find_environment
from calico.lab.openstack.instance import tap_name
from calico.lab.topology import parse_topology

PLAIN = "name: t\nhosts: [{name: h1}]\n"
CLOUD = PLAIN + "openstack: {settings: {audit_interval_s: 60, require_programmed_revision: false}}\n"


def test_the_controller_of_a_cloud_stands_beside_etcd_and_other_labs_have_none():
    layout = plan_layout(parse_topology(CLOUD))
    assert layout.controller is not None
    assert layout.controller.via4 == layout.etcd[0].via4
    assert layout.namespaces()["controller"] == "cl-t-controller"
    plain = plan_layout(parse_topology(PLAIN))
    assert plain.controller is None
    assert "controller" not in plain.namespaces()


def test_a_cloud_keeps_the_name_of_its_controller_to_itself():
    text = "name: t\nhosts: [{name: controller}]\n"
    assert parse_topology(text).hosts[0].name == "controller"
    with pytest.raises(InvalidInput) as caught:
        parse_topology(text + "openstack: {}\n")
    assert caught.value.field == "hosts[0].name"


def test_an_unknown_field_of_a_cloud_is_refused():
    with pytest.raises(InvalidInput) as caught:
        parse_topology(PLAIN + "openstack: {nova: true}\n")
    assert caught.value.field == "openstack"


def test_settings_of_the_driver_are_written_as_neutron_reads_them():
    topology = parse_topology(CLOUD)
    assert topology.openstack is not None
    settings = topology.openstack.settings
    files = neutron_files(Controller(directory="/d", address="10.0.0.1", etcd=["http://e:2379"], settings=settings))
    assert list(files) == ["neutron.conf", "ml2_conf.ini", "calico.ini"]
    read = configparser.ConfigParser()
    for text in files.values():
        read.read_string(text)
    assert read.get("calico", "etcd_endpoints") == "http://e:2379"
    assert read.getfloat("calico", "audit_interval_s") == 60
    assert read.getboolean("calico", "require_programmed_revision") is False
    assert read.get("ml2", "mechanism_drivers") == "calico"
    assert read.get("DEFAULT", "api_paste_config") == "/d/api-paste.ini"


def test_the_pipeline_that_believes_headers_is_added_to_neutrons_own():
    paste = "[composite:neutronapi_v2_0]\nkeystone = a b\n[composite:neutronversions_composite]\nkeystone = c\n"
    read = configparser.ConfigParser()
    read.read_string(trusting_paste(paste))
    for section in read.sections():
        assert read.has_option(section, "trusted")
        assert read.has_option(section, "keystone")


def test_a_missing_environment_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(NotFound, match=r"packaging/bootstrap \.venv openstack"):
        find_environment(str(tmp_path))


def test_a_lab_without_a_cloud_has_no_api():
    with pytest.raises(InvalidInput, match="no `openstack` in its topology"):
        open_api(plan_layout(parse_topology(PLAIN)))


def test_a_tap_is_named_as_nova_names_it():
    assert tap_name("0600febe-89e1-4272-bae9-daca43fd7693") == "tap0600febe-89"
