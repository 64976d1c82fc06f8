from __future__ import annotations

import html
import re
from pathlib import Path

import httpx

from tests.examples.uvicorn import serving


def test_the_stylesheet_is_kept_and_the_next_release_brings_another(tmp_path: Path) -> None:
    static, built = tmp_path / "static", tmp_path / "built"
    static.mkdir()
    seen = []
    for colour in ("red", "green"):
        (static / "app.css").write_text(f".a {{ color: {colour} }}\n.b {{ margin: 0 0 }}\n" * 20)
        with serving("assets_app", STATIC=str(static), BUILT=str(built)) as url:
            page = httpx.get(url)
            (path,) = re.findall(r'href="([^"]+)"', html.unescape(page.text))
            assert page.headers["link"].startswith(f"<{path}>; rel=preload; as=style")
            answer = httpx.get(url + path)
            assert "immutable" in answer.headers["cache-control"]
            seen.append(path)
            for known in seen:  # yesterday's page still finds its own
                assert httpx.get(url + known).status_code == 200
    assert len(set(seen)) == 2
