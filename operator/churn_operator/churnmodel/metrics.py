"""Reading what a version's pods have counted: from each, or from a Prometheus that scrapes them.

Pods that are ready count. What one that is gone had counted is lost with it, whoever is asked.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from prometheus_client.samples import Sample

from churn_operator.api.analysis import PrometheusSpec
from churn_operator.api.rollout import Counters
from churn_operator.churnmodel.counts import CLIENTS, GATEWAY, count, parse_metrics, tells_gateway
from churn_operator.churnmodel.pods import in_url
from churn_operator.churnmodel.promql import FRESH, by_pod, chosen_url, counters_query
from churn_operator.core.errors import MetricsUnavailable
from churn_operator.core.kind import Counting
from churn_operator.core.objects import Key, Object, name_of
from churn_operator.settings import Settings

PORT = 8080
"""Where a predictor answers, behind KServe's agent where it is logged."""


@dataclass(frozen=True)
class Wanted:
    """What is to be read."""

    model: Key
    version: str
    p95_milliseconds: int
    prometheus: PrometheusSpec | None = None
    gateway: bool = False
    """Only what came through it, where that is told apart."""

    def counters(self, pod: str, samples: Iterable[Sample]) -> Counters:
        told = list(samples)
        gateway = self.gateway and tells_gateway(told)
        counts = count(told, self.version, self.p95_milliseconds / 1000, GATEWAY if gateway else CLIENTS)
        return Counters(pod=pod, p95_milliseconds=self.p95_milliseconds, gateway=gateway, **asdict(counts))


async def read_counters(
    settings: Settings, source: Counting, wanted: Wanted, pods: Iterable[Object]
) -> tuple[Counters, ...] | str:
    """Of each pod; a sentence where one of them does not say."""
    try:
        if wanted.prometheus is None:
            return tuple(await asyncio.gather(*(_scraped(source, wanted, pod) for pod in pods)))
        return await _queried(settings, source, wanted, wanted.prometheus, pods)
    except (MetricsUnavailable, ValueError) as error:
        return str(error)


async def _scraped(source: Counting, wanted: Wanted, pod: Object) -> Counters:
    url = f"http://{in_url(pod['status']['podIP'])}:{PORT}/metrics"
    text = await source.metrics(url)
    try:
        return wanted.counters(name_of(pod), parse_metrics(text))
    except ValueError as error:
        raise MetricsUnavailable(f"{url}: {error}") from error


async def _queried(
    settings: Settings, source: Counting, wanted: Wanted, spec: PrometheusSpec, pods: Iterable[Object]
) -> tuple[Counters, ...]:
    url = chosen_url(spec, settings)
    samples = await source.query(url, counters_query(wanted.model, wanted.version, spec, settings))
    told = by_pod(samples, settings.prometheus_pod_label)
    counters = []
    for name in map(name_of, pods):
        if name not in told:
            raise MetricsUnavailable(f"Prometheus at {url} has nothing of the last {FRESH} s of pod {name}")
        counters.append(wanted.counters(name, told[name]))
    return tuple(counters)
