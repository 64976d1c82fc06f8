"""Some requests as OpenTelemetry spans, for any exporter; needs one of the extras.

The usual ASGI instrumentation costs each request 45 microseconds, also those that are not
sampled. Here chance decides before anything is made, so an unsampled request costs nothing to
speak of. Export runs in a thread of its own with a bounded queue: an endpoint that is away
loses spans and delays nobody.
"""

from __future__ import annotations

import random
import threading
import traceback
from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from insight_cloud.core.asgi import App, Message, Receive, Scope, Send, header
from insight_cloud.telemetry.logs import redact, request_id
from insight_cloud.telemetry.middleware import REQUEST_ID, route_template, trace_parent

__all__ = ["Traces"]


class Traces:
    """Makes spans of a `share` of the requests, and hands them to `exporter` in batches.

    Where a request has an id (`Requests` outside of this), it is the trace's id too. A span has
    method, route and status, never path, query, headers or body: they can hold secrets.

    Args:
        exporter: where to; see `otel.traces` and `azure.traces`.
        service: the service's name, `version` its release.
        share: of the requests, from 0 to 1.
        trusted: whether to continue the trace that a request's `traceparent` names, and to take
            over its decision: for those that come through a proxy of ours.
        route: the template of the route that was taken, or None.
        every_seconds: how often a batch is sent at least.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        service: str,
        version: str = "",
        share: float = 0.05,
        trusted: Callable[[Scope], bool] | None = None,
        route: Callable[[Scope], str | None] = route_template,
        every_seconds: float = 5.0,
    ) -> None:
        self._exporter = exporter
        self._share = share
        self._trusted = trusted
        self._route = route
        named = {"service.name": service, **({"service.version": version} if version else {})}
        self._provider = TracerProvider(
            resource=Resource.create(named),
            id_generator=_RequestIds(),
            shutdown_on_exit=False,  # it would hold up the exit for 30 seconds; see `close`
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=every_seconds * 1000)
        )
        self.tracer = self._provider.get_tracer("insight_cloud.telemetry")

    def middleware(self, app: App) -> App:
        """`app`, with its requests traced; inside of `Requests`, so that they have an id."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            sampled, parent = self._decide(scope)
            if sampled:
                await self._trace(app, scope, receive, send, parent=parent)
            else:
                await app(scope, receive, send)

        return traced

    def close(self, seconds: float = 2.0) -> None:
        """Send what is left, for at most `seconds`; what takes longer is lost."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(seconds)
        if ending.is_alive():
            self._exporter.shutdown()  # ends its waiting between tries

    def _decide(self, scope: Scope) -> tuple[bool, SpanContext | None]:
        if scope["type"] != "http":
            return False, None
        if self._trusted is not None and self._trusted(scope):
            found = trace_parent(header(scope, b"traceparent") or "")
            if found is not None:
                identity, span, flags = found
                parent = SpanContext(identity, span, is_remote=True, trace_flags=TraceFlags(flags))
                return bool(parent.trace_flags.sampled), parent
        return random.random() < self._share, None  # noqa: S311 - a sample, no secret

    async def _trace(
        self, app: App, scope: Scope, receive: Receive, send: Send, *, parent: SpanContext | None
    ) -> None:
        context = None
        if parent is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        method, status = scope["method"], 0

        async def telling(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        span = self.tracer.start_span(method, context, kind=SpanKind.SERVER)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                await app(scope, receive, telling)
        except Exception as error:
            status = status or 500
            _note(span, error)
            raise
        finally:
            self._finish(span, scope, method, status)

    def _finish(self, span: trace.Span, scope: Scope, method: str, status: int) -> None:
        route = self._route(scope)
        span.update_name(f"{method} {route}" if route else method)
        span.set_attribute("http.request.method", method)
        if route:
            span.set_attribute("http.route", route)
        if status:
            span.set_attribute("http.response.status_code", status)
        if identity := scope.get(REQUEST_ID):
            span.set_attribute("request.id", identity)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


class _RequestIds(RandomIdGenerator):
    """The request's id as the trace's, where it has the form of one."""

    def generate_trace_id(self) -> int:
        identity = request_id.get()
        try:
            number = int(identity, 16) if len(identity) == 32 else 0
        except ValueError:
            number = 0
        return number or super().generate_trace_id()


def _note(span: trace.Span, error: Exception) -> None:
    """The exception as the event that the conventions name, without secrets."""
    stack = "".join(traceback.format_exception(error))
    if isinstance(span, Span):
        span.add_event(
            "exception",
            {
                "exception.type": type(error).__qualname__,
                "exception.message": redact(str(error)),
                "exception.stacktrace": redact(stack),
            },
        )
