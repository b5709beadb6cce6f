"""FelixConfiguration: settings of Felix for all hosts (``default``), one host (``node.<host>``) or some."""

from __future__ import annotations

from calico.model.meta import Model, Resource

__all__ = ["FelixConfiguration", "FelixConfigurationSpec"]


class FelixConfigurationSpec(Model, frozen=True, kw_only=True):
    """Every field may be absent; Felix then uses the next lower source or its built-in default."""


class FelixConfiguration(Resource, frozen=True, kw_only=True):
    """Settings of Felix kept in the datastore."""

    spec: FelixConfigurationSpec = FelixConfigurationSpec()
