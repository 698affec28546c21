"""Which Prometheus is asked, and what, for what a version's predictors have counted. Pure.

What a model says can only make fewer series match: each label is one more condition, and the namespace always is one.
"""

import json
import re
from collections.abc import Iterable, Mapping

from prometheus_client.samples import Sample

from churn_operator.api.analysis import PrometheusSpec
from churn_operator.core.objects import Key
from churn_operator.settings import Settings

FRESH = 180
"""Seconds. What was last scraped before is not known any more: three of Prometheus' own scrape intervals."""
_COUNTERS = "churn_predictor_(requests_total|request_seconds_bucket|probability_bucket)"
_LABELS = ("version", "protocol", "outcome", "caller", "le")


def chosen_url(spec: PrometheusSpec, settings: Settings) -> str:
    """The one that the model names, or the chart's first.

    Raises:
        ValueError: it is none that the chart allows.
    """
    allowed = settings.prometheuses
    if not allowed:
        raise ValueError("rollout.analysis.prometheus is set, and the chart's analysis.prometheus.urls names none")
    url = spec.url or allowed[0]
    if url.rstrip("/") not in {one.rstrip("/") for one in allowed}:
        raise ValueError(f"rollout.analysis.prometheus.url is {url}, which the chart's analysis.prometheus.urls lacks")
    return url


def counters_query(model: Key, version: str, spec: PrometheusSpec, settings: Settings) -> str:
    """What the version's pods had counted when they were last scraped, one series for each.

    A pod that several jobs scrape is counted once, as the one says that saw it last: what a process counts only grows.

    Raises:
        ValueError: a label has no name that Prometheus knows.
    """
    wanted = [
        f'__name__=~"{_COUNTERS}"',
        _equal(settings.prometheus_namespace_label, model.namespace),
        _equal("model", model.name),
        _equal("version", version),
        'caller=~"client|gateway|"',
        *(_equal(label, value) for label, value in spec.labels.items()),
    ]
    series = f"{{{','.join(wanted)}}}"
    labels = ",".join(("__name__", settings.prometheus_pod_label, *_LABELS))
    return f"max by ({labels}) ({series} and timestamp({series}) > time() - {FRESH})"


def by_pod(samples: Iterable[Sample], label: str) -> Mapping[str, list[Sample]]:
    """The samples of each pod."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.labels.get(label, ""), []).append(sample)
    return found


def _equal(label: str, value: str) -> str:
    if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", label):
        raise ValueError(f"rollout.analysis.prometheus.labels: {label!r} is no name of a label")
    return f"{label}={json.dumps(value, ensure_ascii=False)}"
