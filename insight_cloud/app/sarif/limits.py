"""How much of one log is read; GitHub's limits by default, so that a log fits both or neither."""

from __future__ import annotations

import msgspec

__all__ = ["Limits"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Counts and lengths; each is named in the error or the warning that it causes.

    The first group refuses the log (`TooLarge`); the second shortens what is too long and
    warns. `path_bytes` and `code_characters` also keep the keys within what PostgreSQL
    can index.
    """

    log_bytes: int = 64 * 1024 * 1024
    runs: int = 20
    results_per_run: int = 25_000
    rules_per_run: int = 25_000

    locations_per_result: int = 1_000
    thread_flow_steps: int = 10_000
    kept_steps: int = 100
    message_characters: int = 10_000
    help_characters: int = 65_536
    code_characters: int = 255
    path_bytes: int = 2_000
    fingerprints_per_result: int = 100
    warnings: int = 1_000
