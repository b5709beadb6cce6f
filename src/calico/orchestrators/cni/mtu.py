"""How long packets of workloads may be on this host, as Felix tells it in a file beside the records."""

from __future__ import annotations

from pathlib import Path

from calico.obs.logger import Logger

__all__ = ["told_mtu"]

log = Logger(__name__)


def told_mtu(records: str) -> int:
    """The number in ``mtu`` beside the folder of records; 0, which leaves it to the kernel, when it is not told."""
    path = Path(records).parent / "mtu"
    try:
        mtu = int(path.read_text())
    except OSError:
        return 0
    except ValueError:
        log.warning("the MTU of workloads cannot be read", file=str(path))
        return 0
    return mtu if 68 <= mtu <= 65535 else 0
