"""HTTP Strict Transport Security, and the stages of bringing it in and of taking it back."""

from __future__ import annotations

from typing import Literal, get_args

from insight_cloud.core.errors import SettingsError

__all__ = ["SECONDS", "Stage", "value"]

Stage = Literal["off", "withdraw", "minutes", "week", "month", "full"]

SECONDS: dict[Stage, int] = {
    "withdraw": 0,
    "minutes": 5 * 60,
    "week": 7 * 24 * 3600,
    "month": 30 * 24 * 3600,
    "full": 2 * 365 * 24 * 3600,
}
"""How long browsers remember, by stage; `off` sends nothing and so changes nothing."""


def value(stage: Stage, *, subdomains: bool = True, preload: bool = True) -> str | None:
    """The header of `stage`, or None when none is sent.

    `preload` appears at the last stage only: whoever sees it may put the domain on the
    browsers' built-in list, and getting off that list takes months.

    Raises:
        SettingsError: there is no such stage, or `preload` without `subdomains` at the last.
    """
    if stage not in get_args(Stage):
        raise SettingsError(
            f"{stage!r} is no stage of HSTS; there are {', '.join(get_args(Stage))}"
        )
    if stage == "off":
        return None
    preload = preload and stage == "full"
    if preload and not subdomains:
        raise SettingsError("the preload list takes domains with all their subdomains only")
    parts = [f"max-age={SECONDS[stage]}"]
    parts += ["includeSubDomains"] if subdomains else []
    parts += ["preload"] if preload else []
    return "; ".join(parts)
