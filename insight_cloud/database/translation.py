"""Where psycopg's errors end: each becomes one of ours, named by what the caller can do."""

from __future__ import annotations

from psycopg import errors

from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    InsightError,
    Invalid,
    SettingsError,
    Unavailable,
)

__all__ = ["FOREIGN", "Violation", "may_succeed_again", "stale", "translate"]

FOREIGN = (errors.Error, UnicodeEncodeError)
"""What psycopg raises. The second one: a lone surrogate in a text parameter."""


class Violation(Conflict):
    """A row breaks the constraint named `constraint`: it is there already, or is referred to."""

    def __init__(self, message: str, *, constraint: str) -> None:
        super().__init__(message)
        self.constraint = constraint


def may_succeed_again(error: BaseException | None) -> bool:
    """Whether PostgreSQL rolled the transaction back for others' sake, and asks to run it again."""
    return isinstance(error, errors.SerializationFailure | errors.DeadlockDetected)


def stale(error: BaseException) -> bool:
    """Whether the fault may lie with the connection's age: the server has changed since.

    A plan prepared before a migration, or a server that lost its role in a failover.
    """
    return isinstance(error, errors.ReadOnlySqlTransaction) or (
        isinstance(error, errors.FeatureNotSupported) and "cached plan" in str(error)
    )


_LATER = (
    (errors.QueryCanceled, 10, ""),
    ((errors.SerializationFailure, errors.DeadlockDetected), 0.1, "; nothing was changed"),
    ((errors.LockNotAvailable, errors.ReadOnlySqlTransaction), 1, ""),
    (
        (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction),
        10,
        "; is the schema older than the program? `insight database migrate`",
    ),
    (errors.OperationalError, 1, ""),
)
"""What passes by itself or by an operator's act: the errors, seconds to wait, advice."""


def translate(error: BaseException, statement: str) -> InsightError:
    """Say `error`, met by the statement named `statement`, in our words.

    The server's primary message names tables and constraints. Its detail, which quotes the
    values of a row, is left out.
    """
    if isinstance(error, errors.Error):
        return _translate(error, statement)
    return Invalid(f"{statement}: a text holds characters that are no Unicode")


def _translate(error: errors.Error, statement: str) -> InsightError:
    message = f"{statement}: {error.diag.message_primary or error}".strip()
    for kinds, retry_after, advice in _LATER:
        if isinstance(error, kinds):
            return Unavailable(message + advice, retry_after=retry_after)
    match error:
        case errors.UniqueViolation() | errors.ForeignKeyViolation() | errors.ExclusionViolation():
            return Violation(message, constraint=error.diag.constraint_name or "")
        case errors.DataError() | errors.IntegrityError():
            return Invalid(message)
        case errors.InsufficientPrivilege():
            return SettingsError(f"{message}; grant it to the database user in the settings")
        case errors.DataCorrupted() | errors.IndexCorrupted():
            return Corrupt(message)
        case _:
            # A wrong statement or a wrong call: ours to correct, nobody else's to react to.
            return InsightError(message)
