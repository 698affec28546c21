"""What the chart tells the operator, by environment variables."""

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError


class Settings(BaseModel):
    """The operator's settings. Each is the upper-cased environment variable CHURN_<NAME>."""

    model_config = ConfigDict(frozen=True)

    jobs_image: str
    """What runs in Jobs and fetches model files."""
    predictor_image: str
    """What serves."""
    tracking_uri: str
    """MLflow's address, for Jobs and for the operator."""
    tracking_ui: str = ""
    """MLflow's address on the user's desk, for links; empty: the same."""
    storage_uri: str
    """Folder in the object store for model files: s3://…."""
    storage_secret: str = "churn-storage"  # noqa: S105 - a Secret's name, no secret
    """Secret in each model's namespace with the object store's credentials."""
    collector_url: str = ""
    """Where predictors send what they were asked and what they answered; empty: nothing is logged."""
    prometheus_urls: str = Field(default="", pattern=r"^(https?://[^/,\s][^,\s]*(,|$))*$")
    """Every Prometheus that a model may name, with commas between; the first where it names none."""
    prometheus_namespace_label: str = Field(default="namespace", pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")
    """The label by which these tell a series' namespace…"""
    prometheus_pod_label: str = Field(default="pod", pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")
    """…and the one by which they tell its pod."""
    events_sink: str = ""
    """Where a CloudEvent of each Kubernetes Event is posted to, besides; empty: nowhere."""
    image_pull_policy: str = "IfNotPresent"
    workers: int = Field(default=32, ge=1, le=64)
    """Objects reconciled at the same time."""
    probe_seconds: float = Field(default=5.0, ge=1)
    """How often a champion is asked for a prediction."""
    api_timeout_seconds: float = Field(default=15.0, gt=0)
    """How long an answer of the API server is waited for."""
    tracking_timeout_seconds: float = Field(default=5.0, gt=0)
    """How long an answer of MLflow is waited for. Serving never waits for it."""
    cluster: str = ""
    """Tells this cluster's registered models from another's; read from the cluster where empty."""
    lease: str = Field(default="", pattern=r"^([^/]+/[^/]+)?$")
    """namespace/name of the Lease that tells which replica works. Empty: this process is the only one."""
    lease_seconds: float = Field(default=15.0, ge=1, le=300)
    """A replica that was not heard of for this long is replaced."""
    watch_namespaces: str = Field(default="", pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(,|$))*$")
    """The namespaces that are looked after, with commas between. Empty: all."""
    health_port: int = Field(default=8080, ge=1, le=65535)
    """Answers /healthz and /readyz."""
    metrics_port: int = Field(default=9090, ge=1, le=65535)
    """Answers /metrics."""
    log_format: Literal["text", "json"] = "text"
    """One line of text or one JSON object for each message."""

    @field_validator("events_sink")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", url):
            raise PydanticCustomError(
                "address", "must be http(s)://host, with port and path where needed, and no credentials or query"
            )
        return url

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that are looked after; none means all."""
        return tuple(name for name in self.watch_namespaces.split(",") if name)

    @property
    def prometheuses(self) -> tuple[str, ...]:
        """Those that a model may name."""
        return tuple(url for url in self.prometheus_urls.split(",") if url)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read `CHURN_*`.

        Raises:
            pydantic.ValidationError: names the setting that is missing or wrong.
        """
        prefix = "CHURN_"
        return cls.model_validate(
            {key[len(prefix) :].lower(): value for key, value in environment.items() if key.startswith(prefix)}
        )
