"""PostgreSQL: a pool, named SQL, bulk writes, migrations, an embedded server."""
