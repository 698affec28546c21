"""What is read of the pods, and by whom."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client.samples import Sample
from support.kinds import SETTINGS
from support.predictor_metrics import scraped

from churn_operator.api.analysis import PrometheusSpec
from churn_operator.churnmodel.counts import parse_metrics
from churn_operator.churnmodel.metrics import Wanted, read_counters
from churn_operator.core.errors import MetricsUnavailable
from churn_operator.core.objects import Key

TELCO = Key("ChurnModel", "team", "telco")
ASKED = ("v1", "answered", "client", 0.01)
SLOW = ("v1", "answered", "client", 0.2)
PODS = [{"metadata": {"name": pod}, "status": {"podIP": pod}} for pod in ("a", "b")]
PROMETHEUS = SETTINGS.model_copy(update={"prometheus_urls": "http://prometheus"})


@dataclass
class Told:
    """What pods and a Prometheus say; each answer waits until as many are asked for at the same time."""

    texts: dict[str, str] = field(default_factory=dict)
    series: tuple[Sample, ...] = ()
    together: int = 1
    asked: list[str] = field(default_factory=list)

    async def metrics(self, url: str) -> str:
        self.asked.append(url)
        async with asyncio.timeout(5):
            while len(self.asked) < self.together:  # noqa: ASYNC110 - a turn of the loop, no time
                await asyncio.sleep(0)
        if url not in self.texts:
            raise MetricsUnavailable(f"{url} does not answer")
        return self.texts[url]

    async def query(self, url: str, promql: str) -> tuple[Sample, ...]:
        self.asked += [url, promql]
        return self.series


def of(pod: str, *requests: Any, version: str = "v2") -> tuple[Sample, ...]:
    samples = parse_metrics(scraped(*requests, version=version))
    return tuple(sample._replace(labels=sample.labels | {"pod": pod}) for sample in samples)


async def test_all_pods_are_asked_at_the_same_time() -> None:
    texts = {"http://a:8080/metrics": scraped(ASKED, SLOW), "http://b:8080/metrics": scraped(ASKED)}
    told = await read_counters(SETTINGS, Told(texts, together=2), Wanted(TELCO, "v2", 100), PODS)
    assert not isinstance(told, str)
    assert [(pod.pod, pod.requests, pod.slow) for pod in told] == [("a", 2, 1), ("b", 1, 0)]


async def test_an_ipv6_address_is_asked_in_brackets() -> None:
    pods = [{"metadata": {"name": "a"}, "status": {"podIP": "fd00::7"}}]
    source = Told({"http://[fd00::7]:8080/metrics": scraped(ASKED)})
    told = await read_counters(SETTINGS, source, Wanted(TELCO, "v2", 100), pods)
    assert [pod.requests for pod in told if not isinstance(pod, str)] == [1]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param(None, "http://b:8080/metrics does not answer", id="is silent"),
        pytest.param(scraped(version="v1"), "http://b:8080/metrics: nothing is told of v2", id="serves another"),
    ],
)
async def test_a_pod_that_does_not_say_is_named(text: str | None, why: str) -> None:
    texts = {"http://a:8080/metrics": scraped()} | ({} if text is None else {"http://b:8080/metrics": text})
    assert await read_counters(SETTINGS, Told(texts), Wanted(TELCO, "v2", 100), PODS) == why


async def test_a_prometheus_is_asked_once_and_no_pod() -> None:
    source = Told(series=(*of("b", ASKED), *of("a", SLOW), *of("gone", ASKED)))
    told = await read_counters(PROMETHEUS, source, Wanted(TELCO, "v2", 100, PrometheusSpec()), PODS)
    assert not isinstance(told, str)
    assert [(pod.pod, pod.requests, pod.slow) for pod in told] == [("a", 1, 1), ("b", 1, 0)]
    assert source.asked[0] == "http://prometheus"
    assert len(source.asked) == 2


@pytest.mark.parametrize(
    ("settings", "series", "why"),
    [
        pytest.param(SETTINGS, (), "the chart's analysis.prometheus.urls names none", id="that nobody allowed"),
        pytest.param(PROMETHEUS, of("a"), "nothing of the last 180 s of pod b", id="that does not know a pod"),
        pytest.param(PROMETHEUS, (*of("a"), *of("b", version="v1")), "nothing is told of v2", id="that mixes versions"),
    ],
)
async def test_a_prometheus_tells_nothing(settings: Any, series: Any, why: str) -> None:
    wanted = Wanted(TELCO, "v2", 100, PrometheusSpec())
    assert why in str(await read_counters(settings, Told(series=series), wanted, PODS))


BY_GATEWAY = ("v1", "answered", "gateway", 0.01)


@pytest.mark.parametrize(
    ("asked", "gateway", "expected"),
    [
        pytest.param([ASKED, SLOW, BY_GATEWAY], False, (3, 1, False), id="all clients without a gateway"),
        pytest.param([ASKED, SLOW, BY_GATEWAY], True, (1, 0, True), id="those of the gateway where there is one"),
        pytest.param([ASKED, SLOW], True, (2, 1, False), id="all where a predictor is too old to tell"),
    ],
)
@pytest.mark.parametrize("prometheus", [None, PrometheusSpec()])
async def test_whose_requests_are_counted(
    asked: Any, prometheus: PrometheusSpec | None, expected: Any, *, gateway: bool
) -> None:
    source = Told({"http://a:8080/metrics": scraped(*asked)}, of("a", *asked))
    wanted = Wanted(TELCO, "v2", 100, prometheus, gateway=gateway)
    told = await read_counters(PROMETHEUS, source, wanted, PODS[:1])
    assert not isinstance(told, str)
    assert [(pod.requests, pod.slow, pod.gateway) for pod in told] == [expected]
