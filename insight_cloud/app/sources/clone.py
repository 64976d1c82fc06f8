"""A repository fetched by git, as an archive: from hosts that the operator named, and no others.

Git runs in the sandbox too, with the network that analyses do not have. It brings one commit,
without submodules, hooks, large files, or any configuration but ours; redirects are not followed,
and the connection goes to the address that was checked.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from insight_cloud.app.webhooks.address import is_public
from insight_cloud.core.errors import Invalid, Refused, TooLarge, Unavailable
from insight_cloud.sandbox import Sandbox

__all__ = ["Fetched", "check_ref", "check_url", "fetch"]

_URL_LIMIT = 1_000
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}", re.ASCII)
_LOOKUP_SECONDS = 10
_COMMIT = re.compile(rb"commit ([0-9a-f]{40,64})\n")
_AUTHORITIES = "/in/authorities.pem"

# URL, ref, address to connect to, file of authorities. What a repository says about how it is to
# be exported would leave files out of the analysis, so it is overruled.
_SCRIPT = """
set -eu
git init --quiet --bare /tmp/repository
cd /tmp/repository
mkdir -p info
echo '* -export-ignore -export-subst' > info/attributes
git -c http.followRedirects=false -c "http.curloptResolve=$3" -c "http.sslCAInfo=$4" \
    -c core.hooksPath=/dev/null -c transfer.fsckObjects=true -c credential.helper= \
    fetch --quiet --depth=1 --no-tags --no-recurse-submodules --no-write-fetch-head \
    -- "$1" "+$2:refs/heads/insight"
echo "commit $(git rev-parse refs/heads/insight)" >&2
git archive --format=tar.gz refs/heads/insight
"""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A commit as an archive."""

    commit: str
    archive: bytes


def check_url(text: str, hosts: Sequence[str]) -> str:
    """Return the URL of a repository as it is stored.

    Raises:
        Invalid: it is no https URL, holds a user name or password, or is on a host that the
            operator has not named.
    """
    text, why, port = text.strip(), "", None
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        why = "the port is none"
    if len(text) > _URL_LIMIT or not text.isascii() or not text.isprintable() or " " in text:
        why = f"must have at most {_URL_LIMIT} printable ASCII characters"
    elif parts.scheme != "https" or not parts.hostname or len(parts.path) < 2:
        why = "is no https URL of a repository"
    elif parts.username is not None or parts.password is not None:
        why = "must not hold a user name or password"
    elif parts.query or parts.fragment:
        why = "must not have a query or fragment"
    if why:
        raise Invalid(f"the URL {why}", problems=(("/body/url", why),))
    host = str(parts.hostname) + (f":{port}" if port not in {None, 443} else "")
    if host not in {one.lower() for one in hosts}:
        known = ", ".join(hosts) or "none"
        why = f"repositories of {host} are not fetched; the operator allows: {known}"
        raise Invalid(why, problems=(("/body/url", why),))
    return text


def check_ref(text: str) -> str:
    """Return what is to be fetched: a branch, tag or commit; empty for the default branch.

    Raises:
        Invalid: it is no name that a branch can have.
    """
    text = text.strip()
    if text and (not _REF.fullmatch(text) or ".." in text or text.endswith((".lock", "/", "."))):
        raise Invalid(
            "this is no branch, tag or commit", problems=(("/body/ref", "not a name of Git"),)
        )
    return text


async def fetch(
    sandbox: Sandbox,
    url: str,
    ref: str,
    *,
    hosts: Sequence[str],
    allow_private: bool,
    authorities: Path | None = None,
) -> Fetched:
    """Bring one commit.

    Raises:
        Invalid, TooLarge: there is no such repository or ref, it is too large, or its host is
            not allowed (any more).
        Refused: the host's address is not public.
        Unavailable: the host cannot be found.
    """
    parts = urlsplit(check_url(url, hosts))
    host, port = str(parts.hostname), parts.port or 443
    address = await _resolved(host, port, allow_private=allow_private)
    show = {} if authorities is None else {_AUTHORITIES: authorities}
    file = "/etc/ssl/certs/ca-certificates.crt" if authorities is None else _AUTHORITIES
    bracketed = f"[{address}]" if ":" in address else address
    ended = await sandbox.run(
        [
            *("/bin/sh", "-c", _SCRIPT, "sh", url, ref or "HEAD"),
            *(f"{host}:{port}:{bracketed}", file),
        ],
        show=show,
        network=True,
        environment={
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ALLOW_PROTOCOL": "https",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_LFS_SKIP_SMUDGE": "1",
        },
    )
    if ended.outcome.truncated:
        raise TooLarge(f"{url} is too large to be analysed here")
    if ended.problem:
        raise Invalid(f"git could not fetch {url}: {ended.problem[-500:]}")
    found = _COMMIT.search(ended.outcome.stderr)
    if found is None:
        raise Invalid(f"git fetched nothing from {url}")
    return Fetched(found[1].decode(), ended.stdout)


async def _resolved(host: str, port: int, *, allow_private: bool) -> str:
    """The address to connect to: looked up once, so that nobody can change it meanwhile."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_LOOKUP_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise Unavailable(f"looking {host} up takes too long") from error
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"cannot look {host} up: {error}") from error
    addresses = [str(one[4][0]) for one in found]
    if not allow_private and not all(map(is_public, addresses)):
        raise Refused(f"{host} leads to an address that is not on the public internet")
    return addresses[0]
