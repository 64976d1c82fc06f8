"""Errors to Sentry, or to what speaks its protocol; needs the extra `sentry`.

A handler of the standard `logging`: what is logged as an error is sent, with the exception if
there is one. So nothing is patched, and a request that does not fail costs nothing. The
library's own integrations stay off, and with them headers, bodies and local variables.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from insight_cloud.core.errors import SettingsError
from insight_cloud.telemetry.logs import clean, redact, request_id

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

__all__ = ["SentryHandler"]

_MARK = "__insight_reported__"
_DEPTH = 20
_OWN = ("sentry_sdk", "urllib3")


class SentryHandler(logging.Handler):
    """Sends what is logged at `level` and above, without what looks like a secret.

    Add it to the root logger, and `close` it at the end. Sending happens in a thread with a
    bounded queue. An exception that is logged twice is sent once.

    Args:
        dsn: the project.
        release: the exact version; `environment` is production, staging, ...
        per_minute: how many are sent in a minute; what is beyond it is counted in `dropped`.
        clock: monotonic seconds.

    Raises:
        SettingsError: the extra is not installed, or the DSN is not usable.
    """

    def __init__(
        self,
        dsn: str,
        *,
        release: str = "",
        environment: str = "production",
        level: int = logging.ERROR,
        per_minute: int = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(level)
        try:
            import sentry_sdk
            from sentry_sdk.utils import BadDsn, event_from_exception
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"Sentry is not installed (no {error.name}): pip install 'insight-cloud[sentry]'"
            ) from error
        try:
            self._client = sentry_sdk.Client(
                dsn=dsn,
                release=release or None,
                environment=environment,
                default_integrations=False,
                auto_enabling_integrations=False,
                auto_session_tracking=False,
                include_local_variables=False,
                max_request_body_size="never",
                shutdown_timeout=2,
                before_send=_scrubbed,
            )
        except BadDsn:  # its text repeats the key
            raise SettingsError(
                "the DSN of Sentry is not usable; it looks like https://KEY@HOST/PROJECT"
            ) from None
        self._from_exception = event_from_exception
        self._per_minute = per_minute
        self._clock = clock
        self._minute, self._sent = 0, 0
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send `record`, unless it is the sender's own or was sent already."""
        if record.name.startswith(_OWN) or self._known(record) or not self._admit():
            return
        try:
            self._client.capture_event(*self._event(record))
        except Exception:  # noqa: BLE001 - logging's rule: a handler raises nothing
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what is queued is sent, at most two seconds."""
        self._client.flush(timeout=2)

    def close(self) -> None:
        """Send what is queued, for at most two seconds; nothing is sent afterwards."""
        self._client.close(timeout=2)
        super().close()

    def _known(self, record: logging.LogRecord) -> bool:
        """Whether this exception was sent before, by us or by the server that logs it again."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return False
        known = hasattr(error, _MARK)
        if not known:
            try:
                setattr(error, _MARK, True)
            except AttributeError:  # it takes no attributes: rather twice than never
                return False
        return known

    def _admit(self) -> bool:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._sent = minute, 0
        self._sent += 1
        if self._sent > self._per_minute:
            self.dropped += 1
        return self._sent <= self._per_minute

    def _event(self, record: logging.LogRecord) -> tuple[Event, Hint]:
        event: Event = {}
        hint: Hint = {}
        if record.exc_info and record.exc_info[1] is not None:
            event, hint = self._from_exception(
                record.exc_info,
                client_options=self._client.options,
                mechanism={"type": "logging", "handled": True},
            )
        event["level"] = "fatal" if record.levelno >= logging.CRITICAL else "error"
        event["logger"] = record.name
        event["logentry"] = {"message": redact(record.getMessage())}
        if identity := request_id.get():
            event["tags"] = {"request_id": identity}
        return event, hint


def _scrubbed(event: Event, _: Hint) -> Event | None:
    """The last look before it leaves: the library may have added what we did not."""
    cleaned: Any = clean("", event, depth=_DEPTH)
    return cleaned  # type: ignore[no-any-return]
