import shutil
import subprocess

import pytest

from calico.lab.addressing import plan_layout
from calico.lab.router import external_config, gateway_config, tor_config
from calico.lab.topology import External, Fabric, Host, Topology

L2 = Topology(
    name="t",
    hosts=(Host(name="a", reflector=True), Host(name="b")),
    externals=(External(name="x", as_number=65100), External(name="y")),
)
ROUTED = Topology(name="t", fabric=Fabric(type="routed"), hosts=(Host(name="a", rack="r"), Host(name="b", rack="s")))


def configs():
    l2, routed = plan_layout(L2), plan_layout(ROUTED)
    yield "gateway", gateway_config(l2, "/nowhere")
    yield "spine", gateway_config(routed, "/nowhere")
    yield "tor", tor_config(routed, routed.racks[0], "/nowhere")
    yield "external", external_config(l2.externals[0], 65000, "/nowhere")


@pytest.mark.bird
@pytest.mark.parametrize(("name", "text"), list(configs()), ids=lambda value: value if len(value) < 20 else "")
def test_bird_accepts_every_router_configuration(name, text, tmp_path):
    path = tmp_path / "bird.conf"
    path.write_text(text)
    bird = shutil.which("bird", path="/usr/sbin:/usr/bin:/sbin:/bin")
    checked = subprocess.run([bird, "-p", "-c", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_router_peers_with_reflectors_only_where_there_are_any():
    text = gateway_config(plan_layout(L2), "/nowhere")
    assert "neighbor 10.240.0.10 as 64512" in text
    assert "neighbor 10.240.0.11" not in text


def test_an_external_without_an_as_is_a_plain_route():
    text = gateway_config(plan_layout(L2), "/nowhere")
    assert 'route 203.0.113.11/32 via "ext1"' in text
    assert "neighbor 203.0.113.11" not in text
    assert "neighbor 203.0.113.10 as 65100" in text


def test_a_tor_peers_with_its_own_rack_and_the_spine():
    layout = plan_layout(ROUTED)
    text = tor_config(layout, layout.racks[1], "/nowhere")
    assert "neighbor 10.240.1.10 as 64513" in text
    assert "neighbor 10.240.0.10" not in text
    assert "neighbor 10.249.0.1 as 65000" in text
