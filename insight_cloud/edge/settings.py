"""What an operator may say about the edge; what the edge shall do stands in `edge.toml`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["URL", "EdgeSettings"]

URL = "https://api.cloudflare.com/client/v4"


class EdgeSettings(BaseModel):
    """The Cloudflare zone before the application, and the files that say what it shall do."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    api_token: SecretStr | None = None
    """API token for this zone only; `insight edge token` lists what it must be allowed."""
    zone_id: str | None = None
    """Zone identifier, 32 hexadecimal digits."""
    account_id: str | None = None
    """Account identifier, 32 hexadecimal digits; lists such as `$office` belong to it."""
    api_url: str = URL
    """Where the API is; another one for rehearsals with `insight edge fake`."""
    file: Path = Path("edge.toml")
    """What the edge shall do."""
    samples: Path = Path("edge.samples.toml")
    """Sample requests with what must become of each; tried before every apply."""
    snapshots: Path = Path("edge-snapshots")
    """Folder for the state before each apply, to go back to."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=600)
    """Seconds after which a call of the API counts as lost."""
    concurrency: int = Field(default=8, ge=1, le=32)
    """Calls of the API at once."""
    ca_file: Path | None = None
    """Further certificate authorities for the origin and the health address, as PEM."""
