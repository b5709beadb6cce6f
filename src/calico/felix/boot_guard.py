"""The table that closes workloads from boot until Felix's first sync, loaded before any network is up.

It is the ruleset of a Felix that knows nothing yet: what goes to or comes from an interface with a workload's name is
dropped, all else passes. Felix adopts it. It knows no datastore, so the names are those of the file and environment.
"""

from __future__ import annotations

from calico.dataplane.nft.table import NftDataplane
from calico.errors import Transient
from calico.felix.config.settings import FelixConfig
from calico.felix.host import TABLE, rules_config
from calico.rules.ended import ENDED_SETS
from calico.rules.layout import LAYOUT_CHAIN
from calico.rules.ruleset import Ruleset
from calico.rules.table import TableState

__all__ = ["load_boot_guard"]


def load_boot_guard(config: FelixConfig) -> bool:
    """Load it; false when there is a ruleset already, which stays as it is. Transient when the kernel refuses."""
    state = TableState()
    Ruleset(state, rules_config(config))
    dataplane = NftDataplane(TABLE, state, inherit=ENDED_SETS, layout=LAYOUT_CHAIN)
    try:
        if dataplane.exists():
            return False
        failed = dataplane.apply().failed
        if failed:
            raise Transient(f"the kernel refused {', '.join(map(str, failed))}")
        return True
    finally:
        dataplane.close()
