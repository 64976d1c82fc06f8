"""`Assets`: what templates and servers ask for a release's addresses, markup and headers."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from insight_cloud.assets import folder
from insight_cloud.assets.release import Asset, Release, build, with_deltas
from insight_cloud.core.errors import Missing, SettingsError
from insight_cloud.core.html import Html

__all__ = ["Assets"]

_LINK_BYTES = 8000  # edges and proxies cut longer headers off
_AS = {"css": "style", "js": "script", "mjs": "script"}
_FONTS = frozenset({"woff2", "woff", "ttf", "otf"})


class Assets:
    """The files of a site, below `prefix`, by the names under which they were written.

    Made once, at start; everything is in memory.
    """

    def __init__(
        self, release: Release, earlier: Sequence[Release] = (), *, prefix: str = "/static/"
    ) -> None:
        """Take a prefix that begins and ends with a slash.

        Raises:
            SettingsError: it does not.
        """
        if not (prefix.startswith("/") and prefix.endswith("/")):
            raise SettingsError(
                f"the prefix of assets begins and ends with a slash, not {prefix!r}"
            )
        self.prefix = prefix
        self.release = release
        self.earlier = tuple(earlier)

    @classmethod
    def prepare(
        cls, sources: Path, *, kept: Path | None = None, prefix: str = "/static/"
    ) -> Assets:
        """Build the files below `sources`; with `kept`, into that folder, beside older releases.

        Raises:
            Missing: there is no such folder, or a stylesheet refers to what is not there.
            Invalid: a file cannot be minified.
            SettingsError: `kept` cannot be written.
        """
        found = folder.sources(sources)
        if kept is None:
            return cls(build(found), prefix=prefix)
        before = folder.load(kept)
        release = build(found, (a for one in before for a in one.assets.values()))
        release = with_deltas(release, before)
        planned = folder.plan(release, before)
        newest, *earlier = folder.apply(planned, release, before, kept)
        return cls(newest, earlier, prefix=prefix)

    @classmethod
    def load(cls, output: Path, *, prefix: str = "/static/") -> Assets:
        """Read what `insight assets build` wrote.

        Raises:
            Missing: there is nothing.
            Corrupt: it is not what was built.
        """
        found = folder.load(output)
        if not found:
            raise Missing(f"there are no assets in {output}; run `insight assets build`")
        return cls(found[0], found[1:], prefix=prefix)

    def url(self, name: str) -> str:
        """Return the address of a file; a name that does not exist is `Missing`."""
        return self.prefix + self.release[name].path

    def served(self) -> Iterator[tuple[str, Asset]]:
        """Address and asset of everything that is served; files of earlier releases too."""
        for release in (self.release, *self.earlier):
            for asset in release.assets.values():
                yield self.prefix + asset.path, asset

    def stylesheet(self, name: str) -> Html:
        """Return the element that loads a stylesheet."""
        return Html(
            f'<link rel="stylesheet" href="{html.escape(self.url(name))}" '
            f'integrity="{self.release[name].integrity}">'
        )

    def script(self, name: str, *, module: bool = False) -> Html:
        """Return the element that loads a script, without holding the page up."""
        kind = 'type="module"' if module else "defer"
        return Html(
            f'<script src="{html.escape(self.url(name))}" {kind} '
            f'integrity="{self.release[name].integrity}"></script>'
        )

    def importmap(self, nonce: str = "") -> Html:
        """Return the element by which modules find each other under their plain names.

        It stands before the first module. `nonce` is that of the page's `script-src`.
        """
        modules = {
            self.prefix + name: asset
            for name, asset in self.release.assets.items()
            if name.endswith((".js", ".mjs"))
        }
        text = json.dumps(
            {
                "imports": {plain: self.prefix + asset.path for plain, asset in modules.items()},
                "integrity": {self.prefix + a.path: a.integrity for a in modules.values()},
            }
        )
        attribute = f' nonce="{html.escape(nonce)}"' if nonce else ""
        return Html(
            f'<script type="importmap"{attribute}>{text.replace("<", chr(92) + "u003c")}</script>'
        )

    def preload(self, *names: str) -> str:
        """Return the value of a `Link` header for what a page needs first.

        An edge sends it as Early Hints while the page is still made.

        Raises:
            SettingsError: it would be longer than edges accept.
        """
        value = ", ".join(map(self._link, names))
        if len(value) > _LINK_BYTES:
            raise SettingsError(f"the Link header of {len(names)} files is too long; name fewer")
        return value

    def _link(self, name: str) -> str:
        kind = name.rpartition(".")[2]
        if kind in _FONTS:
            return f"<{self.url(name)}>; rel=preload; as=font; crossorigin"
        asset = self.release[name]
        purpose = _AS.get(kind) or asset.media_type.partition("/")[0]
        if purpose not in {"style", "script", "image"}:
            purpose = "fetch"
        integrity = f'; integrity="{asset.integrity}"' if kind in _AS else ""
        return f"<{self.url(name)}>; rel=preload; as={purpose}{integrity}"
