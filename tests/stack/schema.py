"""Makes Neutron's tables in an empty database; run by Neutron's Python, as ``schema.py URL --config-file FILE...``.

Neutron's own migrations are written for MySQL, so on PostgreSQL its tables are made of its models; on MariaDB they come
from the migrations. The driver's table comes from the driver's migration, by what ``neutron-db-manage`` runs.
"""

import sys

from neutron.db.migration import cli
from neutron.db.migration.models import head
from neutron.db.models.securitygroup_default_rules import SecurityGroupDefaultRule
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

files = sys.argv[2:]
if sys.argv[1].startswith("mysql"):  # all of Neutron's migrations, and ours with them
    sys.argv = ["neutron-db-manage", *files, "upgrade", "heads"]
    sys.exit(cli.main())
engine = create_engine(sys.argv[1])
head.get_metadata().create_all(engine)
with Session(engine) as session:  # what a new group allows: its own members, and everything outwards
    for direction in ("ingress", "egress"):
        for ethertype in ("IPv4", "IPv6"):
            session.add(
                SecurityGroupDefaultRule(
                    direction=direction,
                    ethertype=ethertype,
                    remote_group_id="PARENT" if direction == "ingress" else None,
                    used_in_default_sg=True,
                    used_in_non_default_sg=direction == "egress",
                )
            )
    session.commit()
engine.dispose()

sys.argv = ["neutron-db-manage", *files, "--subproject", "calico-network", "upgrade", "heads"]
sys.exit(cli.main())
