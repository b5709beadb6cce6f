"""What the BGP agent follows."""

from calico.bgp.planning.snapshot import watched_prefixes
from calico.datastore.sync.plausibility import CLUSTER_INFO_KEY


def test_the_agent_follows_cluster_information_or_it_would_not_notice_a_lock() -> None:
    assert any(CLUSTER_INFO_KEY.startswith(prefix) for prefix in watched_prefixes("h1"))
