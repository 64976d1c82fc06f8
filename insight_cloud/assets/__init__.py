"""Files of a site under names that hold their hash: kept for ever, sent as small as they get.

assets = Assets.prepare(Path("static"), kept=Path("built"))
app.mount("/static", Static(assets))  # or any other way to mount an ASGI application
assets.stylesheet("app.css")  # <link rel="stylesheet" href="/static/app.3f2a9c….css" integrity=…>
response.headers["link"] = assets.preload("app.css", "app.js")
"""

from insight_cloud.assets.assets import Assets
from insight_cloud.assets.bundle import Budgets, Weight, check, unused, weigh
from insight_cloud.assets.compress import delta, encode
from insight_cloud.assets.minify import minify
from insight_cloud.assets.release import KEPT, Asset, Release, build, with_deltas
from insight_cloud.assets.settings import AssetsSettings
from insight_cloud.assets.static import Static

__all__ = [
    "KEPT",
    "Asset",
    "Assets",
    "AssetsSettings",
    "Budgets",
    "Release",
    "Static",
    "Weight",
    "build",
    "check",
    "delta",
    "encode",
    "minify",
    "unused",
    "weigh",
    "with_deltas",
]
