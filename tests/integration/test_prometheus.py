"""What predictors have counted, as a real Prometheus tells it."""

import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY, generate_latest, start_http_server
from support.kinds import SETTINGS
from support.predictor_metrics import scraped
from support.prometheus_server import PrometheusServer, until
from support.proxy import Fault, Proxy

from churn_operator.api.analysis import PrometheusSpec
from churn_operator.api.contract import Contract, Feature
from churn_operator.api.rollout import Counters
from churn_operator.churnmodel.counts import parse_counts
from churn_operator.churnmodel.metrics import Wanted, read_counters
from churn_operator.churnmodel.observe import as_counts
from churn_operator.core.errors import MetricsUnavailable
from churn_operator.core.objects import Key
from churn_operator.core.scraper import Scraper
from churn_operator.predictor.metrics import Meter
from churn_operator.predictor.request import Rows

Told = tuple[Counters, ...] | str
Read = Callable[..., Awaitable[Told]]
Run = Callable[..., None]
NO_LABELS: Mapping[str, str] = {}
ASKED = ("v1", "answered", "client", 0.01)
FAILED = ("v1", "failed", "client", 0.01)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Shared: each test has a namespace of its own in it."""
    server = PrometheusServer(tmp_path_factory.mktemp("prometheus"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def team(request: pytest.FixtureRequest) -> str:
    """The namespace of the test."""
    return f"team-{abs(hash(request.node.nodeid))}"


@pytest.fixture
def run(prometheus: PrometheusServer, team: str) -> Iterator[Run]:
    """Let a pod tell what it counted."""
    running: list[dict[str, str]] = []

    def told(text: str, pod: str = "a", **labels: str) -> None:
        running.append({"namespace": team, "pod": pod} | labels)
        prometheus.pods.tell(text, **running[-1])

    yield told
    for labels in running:
        prometheus.pods.forget(**labels)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def read(prometheus: PrometheusServer, team: str, session: aiohttp.ClientSession) -> Read:
    async def told(
        *pods: str,
        url: str = prometheus.url,
        namespace: str = team,
        version: str = "v2",
        labels: Mapping[str, str] = NO_LABELS,
    ) -> Told:
        settings = SETTINGS.model_copy(update={"prometheus_urls": url})
        wanted = Wanted(Key("ChurnModel", namespace, "telco"), version, 100, PrometheusSpec(labels=dict(labels)))
        return await read_counters(settings, Scraper(session, 2), wanted, [{"metadata": {"name": p}} for p in pods])

    return told


def requests(told: Told) -> list[tuple[str, int, int]]:
    return [] if isinstance(told, str) else [(pod.pod, pod.requests, pod.errors) for pod in told]


def saw(*expected: tuple[str, int, int]) -> Callable[[Told], bool]:
    return lambda told: requests(told) == list(expected)


async def test_what_a_real_predictor_counts_is_read_as_from_itself(prometheus: PrometheusServer, read: Read) -> None:
    contract = Contract(features=(Feature(name="tenure", kind="Numerical"),))
    meter = Meter("telco", "v77", contract)
    meter.asked("v1", "answered", 0.02, "client")
    meter.asked("v2", "answered", 0.3, "client")
    meter.asked("v1", "failed", 1, "client")
    meter.asked("grpc", "answered", 0.001, "probe")
    meter.scored(Rows([[1.0], [2.0], [3.0]], []), [0.05, 0.4, 1.0])
    server, thread = start_http_server(prometheus.real, "127.0.0.1")
    try:
        told = await until(
            lambda: read("real", namespace="real", version="v77"), lambda told: not isinstance(told, str)
        )
        assert not isinstance(told, str)
        (counters,) = told
        assert as_counts(counters) == parse_counts(generate_latest(REGISTRY).decode(), "v77", 0.1)
        assert (counters.requests, counters.errors, counters.slow, sum(counters.scores)) == (3, 1, 1, 3)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_each_pod_is_told_by_itself_and_the_others_of_the_namespace_are_left_out(run: Run, read: Read) -> None:
    run(scraped(ASKED, ASKED), "a")
    run(scraped(ASKED, FAILED, FAILED), "b")
    run(scraped(ASKED, version="v1"), "of-another-version")
    run(scraped(ASKED), "not-ready")
    await until(lambda: read("not-ready"), saw(("not-ready", 1, 0)))
    await until(lambda: read("b", "a"), saw(("b", 3, 2), ("a", 2, 0)))
    assert "has nothing of the last 180 s of pod of-another-version" in str(await read("of-another-version"))


async def test_a_pod_that_was_not_scraped_yet_is_named(run: Run, read: Read, prometheus: PrometheusServer) -> None:
    run(scraped(ASKED), "a")
    await until(lambda: read("a"), saw(("a", 1, 0)))
    assert await read("a", "new") == f"Prometheus at {prometheus.url} has nothing of the last 180 s of pod new"


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"namespace": "neighbours"}, id="by naming their namespace"),
        pytest.param({"pod": "theirs"}, id="or their pod"),
        pytest.param({"__name__": "churn_predictor_requests_total"}, id="or the series itself"),
        pytest.param({"job": 'pods"} or {namespace="neighbours'}, id="or by ending the value"),
        pytest.param({"job": 'pods\\"} or {namespace=\\"neighbours'}, id="or by escaping its end"),
        pytest.param({"job": "pods\n} or {"}, id="or the line"),
        pytest.param({'job="pods"} or {namespace': "neighbours"}, id="or the name"),
    ],
)
async def test_no_label_reaches_another_namespace(run: Run, read: Read, labels: dict[str, str]) -> None:
    run(scraped(ASKED), "theirs", namespace="neighbours")
    run(scraped(FAILED), "own")
    await until(lambda: read("own"), saw(("own", 1, 1)))
    told = await read("theirs", labels=labels)
    assert isinstance(told, str)
    assert "has nothing of" in told or "is no name of a label" in told


async def test_a_label_tells_between_two_that_are_alike(run: Run, read: Read) -> None:
    run(scraped(ASKED), "a", cluster='we"st\\')
    run(scraped(ASKED, ASKED), "a", cluster="east")
    await until(lambda: read("a", labels={"cluster": "east"}), saw(("a", 2, 0)))
    await until(lambda: read("a", labels={"cluster": 'we"st\\'}), saw(("a", 1, 0)))


async def test_a_pod_that_two_jobs_scrape_is_counted_once(run: Run, read: Read) -> None:
    run(scraped(ASKED, FAILED), "a")
    run(scraped(ASKED, FAILED), "a", job="again")
    await until(lambda: read("a", labels={"job": "pods"}), saw(("a", 2, 1)))
    await until(lambda: read("a", labels={"job": "again"}), saw(("a", 2, 1)))
    assert requests(await read("a")) == [("a", 2, 1)]


async def test_a_process_that_began_anew_is_told_as_it_is_now(run: Run, read: Read) -> None:
    run(scraped(*[ASKED] * 9, FAILED), "a")
    await until(lambda: read("a"), saw(("a", 10, 1)))
    run(scraped(ASKED))  # it has had no failure yet, and tells of none
    await until(lambda: read("a"), saw(("a", 1, 0)))


async def test_a_pod_that_is_scraped_no_more_is_not_believed(
    run: Run, read: Read, prometheus: PrometheusServer, team: str
) -> None:
    run(scraped(ASKED), "a")
    await until(lambda: read("a"), saw(("a", 1, 0)))
    prometheus.pods.forget(namespace=team, pod="a")
    await until(lambda: read("a"), lambda told: "has nothing of the last 180 s of pod a" in str(told))


async def test_a_pod_that_does_not_answer_prometheus_is_not_believed(
    run: Run, read: Read, prometheus: PrometheusServer
) -> None:
    run(scraped(ASKED), "a")
    await until(lambda: read("a"), saw(("a", 1, 0)))
    prometheus.pods.broken = True
    try:
        await until(lambda: read("a"), lambda told: "has nothing of the last 180 s of pod a" in str(told))
    finally:
        prometheus.pods.broken = False


@pytest.mark.parametrize(
    ("seconds", "is_fresh"), [pytest.param(150, True, id="fresh"), pytest.param(210, False, id="too old")]
)
async def test_what_was_measured_long_ago_is_not_believed(
    run: Run, read: Read, seconds: int, *, is_fresh: bool
) -> None:
    """Prometheus itself would believe it for five minutes where nobody told it that the series ended."""
    at = int((time.time() - seconds) * 1000)
    run("".join(f"{line} {at}\n" for line in scraped(ASKED).splitlines() if not line.startswith("#")), "old")
    run(scraped(ASKED), "new")
    await until(lambda: read("new"), saw(("new", 1, 0)))
    told = await until(lambda: read("old"), lambda told: isinstance(told, str) is not is_fresh)
    assert is_fresh or "has nothing of the last 180 s of pod old" in str(told)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param(Fault.AWAY, "does not answer", id="hangs up"),
        pytest.param(Fault.SLOW, "did not answer within 2 s", id="is slow"),
        pytest.param(Fault.ERROR, "answers 500", id="is broken"),
        pytest.param(Fault.BUSY, "answers 429", id="is busy"),
        pytest.param(Fault.GARBAGE, "is not Prometheus", id="is another"),
        pytest.param(Fault.HALF, "does not answer", id="stops in the middle"),
    ],
)
async def test_a_prometheus_that_fails_is_named_with_its_reason(
    run: Run, read: Read, prometheus: PrometheusServer, fault: Fault, message: str
) -> None:
    run(scraped(ASKED), "a")
    proxy = await Proxy(prometheus.url).start()
    try:
        await until(lambda: read("a", url=proxy.uri), saw(("a", 1, 0)))
        proxy.fail(fault)
        told = await read("a", url=proxy.uri)
        assert isinstance(told, str)
        assert message in told
        assert proxy.uri in told
        proxy.heal()
        await until(lambda: read("a", url=proxy.uri), saw(("a", 1, 0)))
    finally:
        await proxy.stop()


async def test_a_prometheus_that_is_not_there_is_named(read: Read) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    assert url in str(await read("a", url=url))


async def test_a_query_that_is_none_is_told_in_prometheus_own_words(
    prometheus: PrometheusServer, session: aiohttp.ClientSession
) -> None:
    scraper: Any = Scraper(session)
    with pytest.raises(MetricsUnavailable, match=r"answers 400: .*parse error"):
        await scraper.query(prometheus.url, "max(")
    assert await scraper.query(prometheus.url, "nothing_of_this_name") == ()
