"""What a service tells about itself: logs, metrics, health, page speed, leaks, alerts.

    recorder = Recorder(collectors=[database_samples])
    health = Health([Probe("database", check_database)], allowed=is_operator)
    app = Requests(health_or(app), recorder, slow=Slow())
    metrics = Metrics(recorder, allowed=bearer(token))     # mount at /metrics
    logging.config.dictConfig(logs.config("json"))

Sentry, OpenTelemetry and Azure are optional: `insight_cloud.telemetry.sentry`, `.otel`, `.azure`.
"""

from insight_cloud.telemetry import logs, process
from insight_cloud.telemetry.alerts import Alert, Alerts, Rule, rules
from insight_cloud.telemetry.errors import LastErrors, LoggedError
from insight_cloud.telemetry.health import PATHS, Health, Probe
from insight_cloud.telemetry.history import History, Period
from insight_cloud.telemetry.leaks import Leak, Watch
from insight_cloud.telemetry.logs import redact, request_id
from insight_cloud.telemetry.metrics import Metrics, anybody, bearer, nobody
from insight_cloud.telemetry.middleware import REQUEST_ID, REQUESTS, Requests
from insight_cloud.telemetry.multiprocess import Leader, Shared, directory_in_memory
from insight_cloud.telemetry.periodic import Every, Periodic
from insight_cloud.telemetry.process import LoopLag
from insight_cloud.telemetry.recorder import BUCKETS, Recorder
from insight_cloud.telemetry.series import Sample, Series, percentile
from insight_cloud.telemetry.settings import TelemetrySettings
from insight_cloud.telemetry.slow import Slow, SlowRequest
from insight_cloud.telemetry.vitals import Vitals

__all__ = [
    "BUCKETS",
    "PATHS",
    "REQUESTS",
    "REQUEST_ID",
    "Alert",
    "Alerts",
    "Every",
    "Health",
    "History",
    "LastErrors",
    "Leader",
    "Leak",
    "LoggedError",
    "LoopLag",
    "Metrics",
    "Period",
    "Periodic",
    "Probe",
    "Recorder",
    "Requests",
    "Rule",
    "Sample",
    "Series",
    "Shared",
    "Slow",
    "SlowRequest",
    "TelemetrySettings",
    "Vitals",
    "Watch",
    "anybody",
    "bearer",
    "directory_in_memory",
    "logs",
    "nobody",
    "percentile",
    "process",
    "redact",
    "request_id",
    "rules",
]
