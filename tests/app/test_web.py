"""The application as a whole: what every answer carries, and how that is judged."""

from __future__ import annotations

import gzip
import html
import re
from pathlib import Path

import httpx
import pytest

from insight_cloud import wiring
from insight_cloud.app import api, web
from insight_cloud.app.accounts import COOKIE
from insight_cloud.core.errors import SettingsError
from insight_cloud.headers import HeadersSettings, score, site
from insight_cloud.images import ImagesSettings
from insight_cloud.ratelimit import RateLimitSettings
from insight_cloud.settings import ServerSettings, Settings
from tests.app.dashboard.conftest import town
from tests.app.dashboard.town import Town
from tests.flows.test_pages import PAGES, PUBLIC
from tests.images.gallery import jpeg, photo, png

__all__ = ["town"]

ORIGIN = "https://insight.test:8443"


class Visitor(httpx.ASGITransport):
    """Somebody who is signed in: each request carries the session."""

    session = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.session:
            request.headers["cookie"] = f"{COOKIE}={self.session}"
        return await super().handle_async_request(request)


def serve(town: Town, **headers: object) -> Visitor:
    """The town's application as people reach it by HTTPS."""
    settings = Settings(
        server=ServerSettings(public_url=ORIGIN),
        headers=HeadersSettings.model_validate(headers),
        ratelimit=RateLimitSettings(api="100000/15m"),
    )
    components = wiring.Components(town.context.pool, limits=wiring.limits(settings))
    app = web.create(settings, components)
    app.state.context = api.Context.of(components, settings)
    return Visitor(app, raise_app_exceptions=False)


@pytest.mark.parametrize("path", [*PUBLIC.values(), *PAGES.values()])
async def test_every_page_scores_what_is_possible_without_preloading(town: Town, path: str) -> None:
    visitor = serve(town)
    visitor.session = "" if path in PUBLIC.values() else await town.session()
    url = ORIGIN + re.sub(r"{([\w-]+)}", lambda name: town.ids[name[1]], path)
    found = await site.read(url, transport=visitor)
    assert found.is_html
    result = score(found)
    assert result.score >= 140, result.results
    assert result.grade == "A+"


def api_paths() -> list[str]:
    return sorted(path for path, methods in web.openapi()["paths"].items() if "get" in methods)


@pytest.mark.parametrize("path", api_paths())
async def test_every_answer_of_the_api_has_its_headers(town: Town, path: str) -> None:
    visitor = serve(town)
    visitor.session = await town.session()
    ids = {"slug": "payments", "project": "payments", "issue_id": town.ids["timeout"]}
    address = re.sub(r"{([\w-]+)}", lambda name: ids.get(name[1], "none"), path)
    async with httpx.AsyncClient(transport=visitor, base_url=ORIGIN) as http:
        answer = await http.get(address)
    assert answer.headers["content-security-policy"].startswith(
        "default-src 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["strict-transport-security"] == (
        "max-age=63072000; includeSubDomains; preload"
    )
    found = score(await site.read(ORIGIN + address, transport=visitor))
    assert found.score >= 100, found.results


async def test_an_error_of_ours_carries_the_headers_too(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("insight_cloud.app.projects.service.visible", broken)
    visitor = serve(town)
    visitor.session = await town.session()
    async with httpx.AsyncClient(transport=visitor, base_url=ORIGIN) as http:
        answer = await http.get("/")
    assert answer.status_code == 500
    assert "a bug" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    assert "strict-transport-security" in answer.headers


async def test_without_https_browsers_are_not_told_to_insist_on_it(town: Town) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(town.app), base_url="http://127.0.0.1"
    ) as http:
        assert "strict-transport-security" not in (await http.get("/sign-in")).headers


async def test_a_session_over_https_has_a_secure_cookie(town: Town) -> None:
    async with httpx.AsyncClient(transport=serve(town), base_url="http://127.0.0.1") as http:
        form = {"email": "ada@example.org", "password": "a long enough secret"}
        answer = await http.post("/sign-in", data=form, headers={"sec-fetch-site": "same-origin"})
    assert "; Secure" in answer.headers["set-cookie"]


async def test_only_named_origins_may_read_the_api(town: Town) -> None:
    friend = "https://friend.example.com"
    visitor = serve(town, cors_origins=[friend])
    async with httpx.AsyncClient(transport=visitor, base_url=ORIGIN) as http:
        named = await http.get("/api/health", headers={"origin": friend})
        other = await http.get("/api/health", headers={"origin": "https://evil.example.com"})
    assert named.headers["access-control-allow-origin"] == friend
    assert "access-control-allow-origin" not in other.headers


async def test_browsers_report_to_the_service(town: Town) -> None:
    report = {"csp-report": {"document-uri": f"{ORIGIN}/", "effective-directive": "script-src"}}
    async with httpx.AsyncClient(transport=serve(town), base_url=ORIGIN) as http:
        page = await http.get("/sign-in")
        assert "report-uri /reports" in page.headers["content-security-policy"]
        answer = await http.post(
            "/reports", json=report, headers={"content-type": "application/csp-report"}
        )
    assert answer.status_code == 204


def with_images(town: Town, **wanted: object) -> Visitor:
    settings = Settings(images=ImagesSettings.model_validate(wanted))
    components = wiring.Components(town.context.pool, limits=wiring.limits(settings))
    app = web.create(settings, components)
    app.state.context = api.Context.of(components, settings)
    return Visitor(app)


async def test_without_sources_no_images_are_served(town: Town) -> None:
    async with httpx.AsyncClient(transport=with_images(town), base_url="http://x") as http:
        assert (await http.get("/_image?url=/photos/cat.jpg&w=640")).status_code == 404


async def test_images_of_a_folder_are_resized_counted_and_never_a_document(
    town: Town, tmp_path: Path
) -> None:
    (tmp_path / "cat.jpg").write_bytes(jpeg(photo(900, 600)))
    visitor = with_images(
        town, folders=(f"/photos/={tmp_path}",), directory=tmp_path / "kept", processes=1
    )
    app = visitor.app
    async with (
        app.router.lifespan_context(app),  # type: ignore[attr-defined]  # it is our application
        httpx.AsyncClient(transport=visitor, base_url="http://x") as http,
    ):
        accept = {"accept": "image/avif,image/webp"}
        made = await http.get("/_image?url=/photos/cat.jpg&w=640", headers=accept)
        again = await http.get("/_image?url=/photos/cat.jpg&w=640", headers=accept)
        outside = await http.get("/_image?url=/etc/passwd&w=640")
        counted = {
            (series.name, *series.labels): series.values[0]
            for series in app.state.observation.recorder.read()  # type: ignore[attr-defined]  # as above
            if series.name.startswith("images_")
        }
    assert (made.status_code, made.headers["content-type"]) == (200, "image/webp")
    assert made.content == again.content
    assert made.headers.get_list("content-security-policy") == ["default-src 'none'; sandbox"]
    assert made.headers["cache-control"].startswith("public, max-age=86400")
    assert outside.status_code == 403
    assert counted == {
        ("images_answers_total", ("from", "memory")): 1,
        ("images_answers_total", ("from", "store")): 0,
        ("images_answers_total", ("from", "encoder")): 1,
        ("images_refused_total",): 1,
    }


def test_a_folder_of_images_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(SettingsError, match="there is no folder"):
        web.create(Settings(images=ImagesSettings(folders=(f"/photos/={missing}",))))


@pytest.mark.parametrize("text", ["photos=/srv", "/photos=/srv", "/photos/", "/photos/="])
def test_a_folder_needs_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not ADDRESS=FOLDER"):
        ImagesSettings(folders=(text,))


async def test_the_operators_logo_stands_on_every_page(town: Town, tmp_path: Path) -> None:
    logo = tmp_path / "logo.png"
    logo.write_bytes(png(photo(400, 200).bandjoin(200)))
    (tmp_path / "private.png").write_bytes(png(photo(64, 64)))
    visitor = with_images(town, logo=logo, processes=1)
    app = visitor.app
    async with (
        app.router.lifespan_context(app),  # type: ignore[attr-defined]  # it is our application
        httpx.AsyncClient(transport=visitor, base_url="http://x") as http,
    ):
        page = (await http.get("/sign-in")).text
        (shown,) = re.findall(r"<img [^>]+>", page)
        assert 'width="54" height="27" alt=""' in shown
        (address,) = re.findall(r' src="([^"]+)"', shown)
        answer = await http.get(html.unescape(address), headers={"accept": "image/webp"})
        beside = await http.get("/_image?url=/logo/private.png&w=64")
    assert answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]
    assert beside.status_code == 404


@pytest.mark.parametrize("content", [None, b"<svg/>", b"\x89PNG\r\n\x1a\n"])
def test_a_logo_that_is_no_image_ends_the_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "logo").write_bytes(content)
    with pytest.raises(SettingsError, match=r"images\.logo"):
        web.create(Settings(images=ImagesSettings(logo=tmp_path / "logo")))


LOADED = re.compile(r'<(?:link|script|img|use|source|image)\b[^>]*?\s(?:href|src)="([^"#]+)')
HASHED = re.compile(r"/static/(?:.+/)?[\w-]+\.[0-9a-f]{12}\.\w+")


async def sent(http: httpx.AsyncClient, path: str) -> tuple[int, str]:
    """How many bytes of body an address brings, and what they say."""
    async with http.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
        assert answer.status_code in {200, 404}, path
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    if path.startswith("/static/"):
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable", path
    if answer.headers.get("content-encoding") == "gzip":
        return len(raw), gzip.decompress(raw).decode()
    # What must not be stored is left as it is, see `Compression`.
    kept = "no-store" not in answer.headers["cache-control"]
    assert len(raw) < 1024 or not kept, f"{path} comes as it is"
    return len(raw), raw.decode()


async def loaded(http: httpx.AsyncClient, path: str) -> dict[str, int]:
    """The bytes of a page and of everything that it loads, by address; with gzip, uncached."""
    size, page = await sent(http, path)
    found = {path: size}
    waiting = LOADED.findall(page)
    while waiting:
        address = html.unescape(waiting.pop())
        if address in found or address.startswith("data:"):
            continue
        found[address], text = await sent(http, address)
        if address.endswith(".css"):
            inside = re.findall(r"url\(\s*[\"']?([^)\"'#]+)", text)
            waiting += [str(httpx.URL(ORIGIN + address).join(one).path) for one in inside]
    return found


async def test_every_page_loads_only_hashed_and_compressed_files(town: Town) -> None:
    visitor = serve(town)
    async with httpx.AsyncClient(transport=visitor, base_url=ORIGIN) as http:
        for path in [*PUBLIC.values(), *PAGES.values()]:
            visitor.session = "" if path in PUBLIC.values() else await town.session()
            address = re.sub(r"{([\w-]+)}", lambda name: town.ids[name[1]], path)
            _, *files = await loaded(http, address)
            assert any(file.endswith(".css") for file in files), path
            other = [file for file in files if not HASHED.fullmatch(file)]
            assert all(re.fullmatch(r"/vitals\?v=[0-9a-f]{12}", file) for file in other), other


async def test_the_overview_takes_at_most_sixty_kilobytes(town: Town) -> None:
    """All of it, with nothing in the browser's cache, and with gzip only."""
    visitor = serve(town)
    visitor.session = await town.session()
    async with httpx.AsyncClient(transport=visitor, base_url=ORIGIN) as http:
        found = await loaded(http, "/")
    assert len(found) >= 4
    assert sum(found.values()) <= 60_000, found
