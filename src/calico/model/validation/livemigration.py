"""LiveMigration (spec §16.3)."""

from __future__ import annotations

from calico.model.livemigration import LiveMigrationSpec
from calico.model.validation import syntax
from calico.model.validation.report import Report

__all__ = ["check_live_migration"]


def check_live_migration(report: Report, spec: LiveMigrationSpec) -> None:
    """Check that the endpoints at the target can be chosen."""
    if spec.target is not None:
        report.parses(syntax.selector, "spec.target.selector", spec.target.selector)
