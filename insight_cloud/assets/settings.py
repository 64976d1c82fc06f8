"""What an operator may say about assets."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from insight_cloud.assets.bundle import Budgets

__all__ = ["AssetsSettings"]


class AssetsSettings(BaseModel):
    """The files that pages need: stylesheets, scripts, icons."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    directory: Path | None = None
    """Where the service keeps the files of its last releases, so that a browser needs only what
    changed; without it each start knows its own files only."""
    initial_bytes: int = Field(default=300 * 1024, ge=0)
    """Budget of the scripts and stylesheets of every page, as sent with gzip."""
    route_bytes: int = Field(default=200 * 1024, ge=0)
    """Budget of those of one route."""
    vendor_bytes: int = Field(default=500 * 1024, ge=0)
    """Budget of those of others."""
    routes: tuple[str, ...] = ("routes/*",)
    """Which files belong to one route."""
    vendors: tuple[str, ...] = ("vendor/*", "*.min.js", "*.min.css")
    """Which files are of others."""

    def budgets(self) -> Budgets:
        """Return the budgets."""
        return Budgets(
            self.initial_bytes, self.route_bytes, self.vendor_bytes, self.routes, self.vendors
        )
