"""Our events as messages of Neutron's own log, in every process that loads the driver."""

from __future__ import annotations

import structlog

__all__ = ["log_as_neutron"]


def log_as_neutron() -> None:
    """Hand structlog's events to the standard library's logging, which Neutron configured; as ``event key=value``."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
