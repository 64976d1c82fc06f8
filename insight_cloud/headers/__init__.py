"""Security headers, cross-origin requests, and what browsers report, for any ASGI application.

app = Cors(app, origins=["https://app.example.com"])
app = Headers(app, report_url="/reports")     # a strict policy; `nonce(scope)` for templates
sink = Reports()                              # the ASGI endpoint to serve at /reports
print(sink.totals, sink.seen)
from insight_cloud.headers import site       # apart: it needs httpx
found = score(await site.read("https://example.com/"))
print(found.grade, found.score, found.results)
"""

from insight_cloud.headers import csp, hsts
from insight_cloud.headers.cors import Cors
from insight_cloud.headers.middleware import Headers, is_https, nonce
from insight_cloud.headers.reports import Reports, Violation
from insight_cloud.headers.score import Answer, Result, Score, Site, score
from insight_cloud.headers.settings import HeadersSettings

__all__ = [
    "Answer",
    "Cors",
    "Headers",
    "HeadersSettings",
    "Reports",
    "Result",
    "Score",
    "Site",
    "Violation",
    "csp",
    "hsts",
    "is_https",
    "nonce",
    "score",
]
