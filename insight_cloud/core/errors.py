"""The seven errors, named by what the caller can do, with their exit and HTTP statuses.

    InsightError
    ├── SettingsError        correct the settings                exit 2   HTTP 500
    ├── Missing              name something that exists          exit 3   HTTP 404
    ├── Refused              ask for something that is allowed   exit 4   HTTP 403
    │   ├── Unauthenticated  sign in, or send a valid token      exit 4   HTTP 401
    │   ├── Invalid          correct the input at `problems`     exit 4   HTTP 422
    │   │   └── TooLarge     send less                           exit 4   HTTP 413
    │   └── RateLimited      wait `retry_after` seconds          exit 4   HTTP 429
    ├── Conflict             look at the present state first     exit 5   HTTP 409
    ├── Unavailable          try again later                     exit 6   HTTP 503
    └── Corrupt              restore from a good copy            exit 7   HTTP 500

Foreign exceptions end in the file that talks to the foreign system:
`raise Unavailable("...") from error`. A message says what happened, to what, and what
to do next; it never holds a secret.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CHECK_FAILED",
    "INTERRUPTED",
    "Conflict",
    "Corrupt",
    "InsightError",
    "Invalid",
    "Missing",
    "RateLimited",
    "Refused",
    "SettingsError",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
]

CHECK_FAILED = 1
"""Exit status of a command whose check found something wrong (no error in itself)."""

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells count."""


class InsightError(Exception):
    """Anything that this program raises on purpose; `str(error)` is meant for people."""

    exit_status: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"


class SettingsError(InsightError):
    """The settings cannot be used as they are."""

    exit_status = 2
    http_status = 500
    title = "Wrong settings"


class Missing(InsightError):  # noqa: N818 - named by what the caller can do, see the tree above
    """What was named does not exist, or the caller may not know that it does."""

    exit_status = 3
    http_status = 404
    title = "Not found"


class Refused(InsightError):  # noqa: N818 - see above
    """The request was understood and is not allowed."""

    exit_status = 4
    http_status = 403
    title = "Refused"


class Unauthenticated(Refused):
    """Nobody is known to be asking: no credentials, or none that are valid now."""

    http_status = 401
    title = "Not signed in"


class Invalid(Refused):
    """The input is wrong; `problems` are pairs of a JSON pointer (RFC 6901) and what is wrong."""

    http_status = 422
    title = "Invalid input"

    def __init__(self, message: str, *, problems: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class TooLarge(Invalid):
    """The input is larger than the limit that the message names."""

    http_status = 413
    title = "Too large"


class RateLimited(Refused):
    """Too many requests; the same one is welcome after `retry_after` seconds."""

    http_status = 429
    title = "Too many requests"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Conflict(InsightError):  # noqa: N818 - see above
    """The present state does not admit this; nothing was changed."""

    exit_status = 5
    http_status = 409
    title = "Conflict"


class Unavailable(InsightError):  # noqa: N818 - see above
    """Something outside did not answer in time; the same request may succeed later."""

    exit_status = 6
    http_status = 503
    title = "Unavailable"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Corrupt(InsightError):  # noqa: N818 - see above
    """Data were read that cannot be right; they were not used."""

    exit_status = 7
    http_status = 500
    title = "Corrupt data"
