"""PostgreSQL: a pool, named SQL, bulk writes, migrations, an embedded server.

async with embedded.server(Path("data")) as url, Pool(url) as pool:
    await migrations.apply(pool, Path("migrations"))
    users = await pool.fetch_all("select id, name from users", User)
    async with pool.transaction() as connection:
        await connection.insert_many("users", ("id", "name"), [(1, "Ada"), (2, "Grace")])
    print(pool.statistics(), pool.recorder.statements())
"""

from typing import TYPE_CHECKING

from insight_cloud.core import later
from insight_cloud.database.settings import DatabaseSettings

if TYPE_CHECKING:
    from insight_cloud.database import embedded, migrations, sql
    from insight_cloud.database.checks import check
    from insight_cloud.database.connection import Connection
    from insight_cloud.database.pool import Isolation, Pool, Statistics
    from insight_cloud.database.query_cache import CacheStatistics, QueryCache
    from insight_cloud.database.recorder import Recorder, SlowQueries
    from insight_cloud.database.sql import Queries, Query
    from insight_cloud.database.translation import Violation

__all__ = [
    "CacheStatistics",
    "Connection",
    "DatabaseSettings",
    "Isolation",
    "Pool",
    "Queries",
    "Query",
    "QueryCache",
    "Recorder",
    "SlowQueries",
    "Statistics",
    "Violation",
    "check",
    "embedded",
    "migrations",
    "sql",
]

__getattr__ = later.names(
    __name__,
    {
        ".": "embedded migrations sql",
        "checks": "check",
        "connection": "Connection",
        "pool": "Isolation Pool Statistics",
        "query_cache": "CacheStatistics QueryCache",
        "recorder": "Recorder SlowQueries",
        "sql": "Queries Query",
        "translation": "Violation",
    },
)
