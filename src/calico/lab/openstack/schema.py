"""Makes Neutron's tables in an empty PostgreSQL. A program for Neutron's interpreter: ``schema.py URL``.

Neutron's own migrations are written for MySQL, so its tables are made of its models. The driver's table comes of the
driver's migration, by ``neutron-db-manage``. Nothing of this project imports this file.
"""

import sys

from neutron.db.migration.models import head
from neutron.db.models.securitygroup_default_rules import SecurityGroupDefaultRule
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

_DIRECTIONS = ("ingress", "egress")


def main(url: str) -> None:
    """All tables, and what Neutron's migration says that a new group allows: its own members, and all that leaves."""
    engine = create_engine(url)
    head.get_metadata().create_all(engine)
    with Session(engine) as session:
        for direction in _DIRECTIONS:
            for ethertype in ("IPv4", "IPv6"):
                rule = SecurityGroupDefaultRule(
                    direction=direction,
                    ethertype=ethertype,
                    remote_group_id="PARENT" if direction == "ingress" else None,
                    used_in_default_sg=True,
                    used_in_non_default_sg=direction == "egress",
                )
                session.add(rule)
        session.commit()
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
