"""Specs and manifests as users write them."""

import json
from typing import Any

DATA = {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"}
MONITORING = {"current": {"source": {"uri": "s3://churn/current.csv"}}}
MONITOR = {"modelRef": {"name": "telco"}} | MONITORING
RUN = {"modelRef": {"name": "telco"}, "reason": "to see"}
WINDOW = {"uri": "s3://churn/current.csv", "revision": "etag:1"}
EVIDENCE = {"monitor": "telco", "window": WINDOW, "share": 0.5}


def manifest(kind: str, name: str, spec: dict[str, Any]) -> str:
    body = {"apiVersion": "churnops.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return json.dumps(body)


def source(**fields: Any) -> dict[str, Any]:
    return {"data": {"source": fields, "target": "churn"}}


def gate(**fields: Any) -> dict[str, Any]:
    return {"data": DATA, "gates": [{"name": "quality"} | fields]}


def resources(**fields: Any) -> dict[str, Any]:
    return {"data": DATA, "training": {"resources": fields}}
