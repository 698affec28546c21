"""What the chart tells the collector, by environment variables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

PREFIX = "CHURN_COLLECTOR_"
Seconds = Annotated[float, Field(gt=0, le=86400)]


class Settings(BaseModel):
    """The collector's settings. Each is the upper-cased environment variable CHURN_COLLECTOR_<NAME>."""

    model_config = ConfigDict(frozen=True)

    storage_uri: Annotated[str, Field(pattern=r"^(s3://[^/]+|file://|/).*$")]
    """Folder for model files, below which the log lies: s3://…; a path is for trying it out."""
    buffer_dir: Path = Path("/var/lib/churn-collector")
    """Folder for what is not in the object store yet."""
    buffer_bytes: int = Field(default=512 << 20, ge=1 << 20)
    """How large that may grow; then events are answered with 503."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Takes events, and answers /healthz, /readyz and /metrics. 0: any free one, which the log names."""
    flush_bytes: int = Field(default=4 << 20, ge=1 << 10, le=64 << 20)
    """So many bytes go to the object store at once …"""
    flush_seconds: Seconds = 10
    """… or what came in so long a time."""
    settle_seconds: Seconds = 20
    """Halves younger than this are not joined yet: longer than a flush, so that other replicas have written theirs."""
    compact_seconds: Seconds = 10
    """How often halves are joined."""
    orphan_seconds: Seconds = 900
    """After this time a half without its other one is dropped, and counted."""
    retention_days: int = Field(default=90, ge=1, le=36500)
    """Rows of older days are deleted."""
    sweep_seconds: Seconds = 3600
    """How often that is done."""
    max_event_bytes: int = Field(default=8 << 20, ge=1 << 10, le=64 << 20)
    """A larger event is refused."""
    hash_key: SecretStr | None = Field(default=None, min_length=16)
    """What personal data is hashed with. Without it, columns that are to be hashed are dropped."""
    drain_seconds: float = Field(default=5, ge=0, le=300)
    """How long to go on taking events after SIGTERM, while the cluster's nodes hear of it."""
    stop_seconds: Seconds = 40
    """How long after that to try to bring what is buffered to the object store."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read `CHURN_COLLECTOR_*`; an empty one counts as absent.

        Raises:
            pydantic.ValidationError: names the setting that is missing or wrong.
        """
        return cls.model_validate(
            {
                key.removeprefix(PREFIX).lower(): value
                for key, value in environment.items()
                if key.startswith(PREFIX) and value
            }
        )
