"""The example loads a site: every visitor sees the shelf, and buys what lies first on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from tests.examples.uvicorn import serving

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples/load_shop.py"


def test_every_visitor_buys() -> None:
    with serving("shop_app", PYTHONPATH=str(HERE / "shop")) as url:
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), url], capture_output=True, text=True, check=False
        )
        bought = httpx.get(f"{url}/bought").json()
    assert done.stderr == ""
    assert "buy: 50, p95" in done.stdout
    assert bought == ["tea"] * 50
