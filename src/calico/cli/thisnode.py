"""Which Node this host is: what is said, else what the environment or a file of the host says, else its host name."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

__all__ = ["NODENAME_FILE", "VARIABLES", "this_node"]

NODENAME_FILE: Final = Path("/var/lib/calico/nodename")
VARIABLES: Final = ("FELIX_FELIXHOSTNAME", "NODENAME", "HOSTNAME")


def this_node(given: str | None = None, file: Path = NODENAME_FILE) -> str:
    """The name; the same order for everything that works on this host, or one would not know another's doings."""
    said = given or next((os.environ[name] for name in VARIABLES if os.environ.get(name)), "")
    if said:
        return said
    try:
        stored = file.read_text().strip()
    except OSError:
        stored = ""
    return stored or socket.gethostname().lower()
