"""The settings as they are now: computed again when a source changes, and handed over when Felix starts over."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

import msgspec
import structlog

from calico.datastore.connection import Connection
from calico.felix.config.merging import Source, merge_config, needs_restart
from calico.felix.config.settings import FelixConfig
from calico.felix.config.sources import of_environment
from calico.felix.inputs import Inputs
from calico.obs.conditions import Conditions

__all__ = ["Configuration", "FelixSettings"]

log = structlog.get_logger(__name__)

_HANDED_OVER = "CALICO_SETTINGS_HANDED_OVER"


class FelixSettings(msgspec.Struct, frozen=True):
    """What Felix must know before it can read its configuration from the datastore, and what this host says of that.

    ``file``: parameters of the file ``file_name``; ``arguments``: parameters given on the command line.
    ``mtu_file``: where the MTU of workloads is written for those who attach them; empty: nowhere.
    """

    node: str
    etcd: Connection
    run_dir: str
    environment: Mapping[str, str] = {}
    file: Mapping[str, str] = {}
    file_name: str = ""
    arguments: Mapping[str, str] = {}
    mtu_file: str = ""


class Configuration:
    """The effective settings, recomputed on demand. A change that needs it makes Felix start over in place: the
    ruleset and routes stay in the kernel and are adopted again."""

    def __init__(self, settings: FelixSettings, conditions: Conditions) -> None:
        environment = of_environment(settings.environment or os.environ)
        named = (settings.file_name, settings.file), ("environment", environment), ("command line", settings.arguments)
        self._local: list[Source] = [source for source in named if source[1]]
        self._conditions = conditions
        self._inputs: Inputs | None = None
        self._seen = -1
        self._programmed: FelixConfig | None = None
        self.listeners: list[Callable[[], None]] = []
        self.merged = merge_config(self._local)
        handed_over = os.environ.pop(_HANDED_OVER, "")
        self.current = msgspec.json.decode(handed_over, type=FelixConfig) if handed_over else self.merged.settings

    def bind(self, inputs: Inputs) -> None:
        """Read the datastore's share from here."""
        self._inputs = inputs

    def programmed(self) -> None:
        """The host is being programmed with the current settings."""
        self._programmed = self.current

    def refresh(self) -> None:
        """Recompute if a source changed; starts Felix over when a setting changed that needs it."""
        if self._inputs is None or self._inputs.config_changes == self._seen:
            return
        self._seen = self._inputs.config_changes
        self.merged = merge_config([*self._inputs.config_sources(), *self._local])
        self._conditions.replace("config-invalid", dict(self.merged.refused))
        self._conditions.replace("config-without-effect", dict(self.merged.idle))
        new = self.merged.settings
        if self._programmed is not None:
            changed = needs_restart(self._programmed, new)
            if changed:
                log.info("settings changed that need a new start", parameters=changed)
                start_over(new)
        if new != self.current:
            self.current = new
            for listener in self.listeners:
                listener()


def start_over(config: FelixConfig) -> None:
    """Replace this process by a new run of itself: same pid, same arguments, and the settings to begin with (the
    datastore's share is not known again before the host is made)."""
    os.environ[_HANDED_OVER] = msgspec.json.encode(config).decode()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
