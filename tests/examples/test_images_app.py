from __future__ import annotations

import html
import re
from pathlib import Path

import httpx

from tests.examples.uvicorn import serving
from tests.images.gallery import jpeg, photo


def test_the_page_offers_widths_and_each_of_them_is_served(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(jpeg(photo(1300, 900)))
    store = tmp_path / "store"
    with serving("images_app", PHOTOS=str(tmp_path), STORE=str(store)) as url:
        page = httpx.get(url).text
        offered = re.findall(r"(/_image\?\S+) (\d+)w", html.unescape(page))
        assert {int(width) for _, width in offered} == {640, 750, 828, 1080, 1200, 1300}
        for address, _ in offered[:2] + offered[-2:]:
            answer = httpx.get(url + address, timeout=30)
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"].startswith("image/")
        assert httpx.get(f"{url}/_image?url=/etc/passwd&w=640").status_code == 403
    assert list(store.glob("??/*"))
