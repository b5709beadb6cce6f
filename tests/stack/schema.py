"""Makes Neutron's tables in an empty database; run by Neutron's Python, as ``schema.py URL``.

Neutron's own migrations are written for MySQL, so on PostgreSQL its tables are made of its models. The driver's table
comes from the driver's migration, by ``neutron-db-manage``.
"""

import sys

from neutron.db.migration.models import head
from sqlalchemy import create_engine

engine = create_engine(sys.argv[1])
head.get_metadata().create_all(engine)
engine.dispose()
