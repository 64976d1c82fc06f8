"""What leaves this machine: made for the privacy level, checked, and shown on request."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from insight_cloud.cli._output import say

if TYPE_CHECKING:
    from pathlib import Path

    from insight_cloud.app.client import Client, Uploaded
    from insight_cloud.app.privacy import Keyed, Level
    from insight_cloud.app.sarif.model import Run
    from insight_cloud.cli._checkout import Checkout
    from insight_cloud.settings import Settings

__all__ = ["LEVELS", "Body", "level_of", "made", "printed", "privacy_options", "send"]

F = TypeVar("F", bound=Callable[..., Any])

# As in `settings.PrivacyLevel`, which would load every component for a help text.
LEVELS = ("counts", "metadata", "findings", "snippets", "source")
_USERINFO = re.compile(r"(?<=//)[^/@]*@")


def privacy_options(function: F) -> F:
    """The options `--privacy` and `--dry-run`."""
    level = click.option(
        "--privacy",
        type=click.Choice(LEVELS),
        help="What leaves this machine at most.  [default: client.privacy, else findings]",
    )
    dry = click.option(
        "--dry-run", is_flag=True, help="Print the exact JSON that would be sent, and send nothing."
    )
    return level(dry(function))


@dataclass(frozen=True, slots=True)
class Body:
    """What would be sent, whole: `data` is the body, the rest goes into the address."""

    data: bytes
    level: Level
    place: Checkout
    parameters: dict[str, Any]

    @property
    def media_type(self) -> str:
        """How the body is announced: an array is a Code Climate report."""
        is_array = self.data.lstrip()[:1] == b"["
        is_sarif = self.level != "counts" and not is_array
        return "application/sarif+json" if is_sarif else "application/json"


def level_of(settings: Settings, given: Level | None) -> Level:
    """The level of this command: as it was asked for, else as the settings have it."""
    return given or settings.client.privacy


def made(
    runs: Sequence[Run],
    level: Level,
    place: Checkout,
    settings: Settings,
    *,
    files: int | None = None,
    **parameters: Any,
) -> Body:
    """Make the body of an upload of `runs`, which holds no more than `level`.

    Raises:
        SettingsError: paths are to be hashed, and there is no key.
    """
    from insight_cloud.app import privacy
    from insight_cloud.app.detectors import tokens

    keyed = _keyed(settings)
    if level != "counts":
        data = privacy.log(runs, level, find=tokens.find, keyed=keyed)
        return checked(Body(data, level, place, parameters))
    data = privacy.counts(
        runs,
        branch=place.branch,
        commit=place.commit,
        keyed=keyed,
        remote=_USERINFO.sub("", place.remote),
        files=files,
        lines=parameters.get("lines"),
    )
    return checked(Body(data, level, place, {}))


def checked(body: Body) -> Body:
    """The same body, when it holds no more than its level.

    Raises:
        Invalid: it holds more; each place is named, and nothing was sent.
    """
    from insight_cloud.app import privacy
    from insight_cloud.app.detectors import tokens
    from insight_cloud.core.errors import Invalid

    try:
        privacy.require(body.data, body.level, tokens.find)
    except Invalid as error:
        places = "; ".join(f"{pointer}: {what}" for pointer, what in error.problems[:10])
        more = len(error.problems) - 10
        text = f"not sent: more than the privacy level {body.level!r} allows: {places}"
        raise Invalid(
            text + (f"; and {more} more" if more > 0 else ""), problems=error.problems
        ) from error
    return body


def printed(body: Body) -> None:
    """Print the body as it would be sent, and tell where to."""
    sys.stdout.buffer.write(body.data)
    sys.stdout.flush()
    what = "snapshots" if body.level == "counts" else "analyses"
    told = {} if body.level == "counts" else body.parameters | _place(body.place)
    query = ", ".join(f"{name}={value}" for name, value in told.items() if value not in {None, ""})
    say(f"nothing was sent; it would go to /api/v1/projects/{body.place.project}/{what}")
    if query:
        say(f"with {query}")


async def send(client: Client, body: Body, queue: Path | None = None) -> Uploaded | None:
    """Send it, and before it what waits in `queue`. None: the server is away, and it waits too."""
    from insight_cloud.cli import _queue

    about: dict[str, Any] = {"project": body.place.project}
    if body.level == "counts":
        return await _queue.send(client, queue, body.data, about, counts=True)
    about |= {"media_type": body.media_type, **_place(body.place), **body.parameters}
    return await _queue.send(client, queue, body.data, about)


def _place(place: Checkout) -> dict[str, Any]:
    return {"branch": place.branch, "commit": place.commit}


def _keyed(settings: Settings) -> Keyed:
    from insight_cloud.app.privacy import Keyed
    from insight_cloud.core.errors import SettingsError

    wanted = settings.client
    if wanted.hash_paths and wanted.privacy_key is None:
        raise SettingsError("client.hash_paths needs client.privacy_key: any long random text")
    key = None if wanted.privacy_key is None else wanted.privacy_key.get_secret_value().encode()
    return Keyed(key, hash_paths=wanted.hash_paths)
