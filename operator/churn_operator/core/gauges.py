"""What /metrics tells of each ChurnModel: its conditions, and what its clients are promised.

An alert on a promise compares what the predictors count with these, so that one rule serves every model.
"""

from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from churn_operator.core.objects import Object, name_of

MODEL = ("namespace", "model")


class Told(NamedTuple):
    """Of one model."""

    conditions: tuple[tuple[str, str], ...]
    """Type and status of each."""
    seconds: float
    error_rate: float


class ModelGauges(Collector):
    """Kept in its own words: a Gauge for each series would take ten times the memory."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], Told] = {}

    def __call__(self, obj: Object, *, gone: bool, first: bool) -> None:
        """The store's news."""
        del first
        if obj["kind"] != "ChurnModel":
            return
        place = obj["metadata"]["namespace"], name_of(obj)
        if gone:
            self._models.pop(place, None)
            return
        slo = obj["spec"]["serving"]["slo"]
        conditions = obj.get("status", {}).get("conditions", ())
        told = tuple((condition["type"], condition["status"]) for condition in conditions)
        self._models[place] = Told(told, slo["p95Milliseconds"] / 1000, slo["maxErrorRate"])

    def collect(self) -> Iterable[Metric]:
        conditions = GaugeMetricFamily(
            "churn_model_condition",
            "1 for each condition of a ChurnModel, with the status (True, False or Unknown) that it has",
            labels=(*MODEL, "type", "status"),
        )
        seconds = GaugeMetricFamily(
            "churn_model_slo_seconds", "What 95 % of the answers are promised to take at most", labels=MODEL
        )
        errors = GaugeMetricFamily(
            "churn_model_slo_error_ratio", "The share of requests that is promised at most to fail", labels=MODEL
        )
        for place, told in self._models.items():
            seconds.add_metric(place, told.seconds)
            errors.add_metric(place, told.error_rate)
            for condition in told.conditions:
                conditions.add_metric((*place, *condition), 1)
        yield from (conditions, seconds, errors)


MODELS = ModelGauges()
REGISTRY.register(MODELS)
