"""What /metrics says after a request."""

from itertools import pairwise
from typing import Any

import httpx
from prometheus_client import generate_latest
from unit.predictor.counting import grown, scrape
from unit.predictor.trained import Trained

from churn_operator.api.analysis import ROUTE_HEADER, SCORE_BINS
from churn_operator.api.inference_log import KIND_HEADERS
from churn_operator.churnmodel.counts import Counts, parse_counts, parse_metrics, tells_gateway
from churn_operator.predictor.metrics import SECONDS, Meter
from churn_operator.predictor.model import caller_of
from churn_operator.predictor.request import PROBE_HEADER, SHADOW_HEADER


async def test_requests_are_counted_by_protocol_outcome_and_caller(client: httpx.AsyncClient, trained: Trained) -> None:
    row: dict[str, Any] = trained.rows[0]
    found = await grown(
        client,
        ("/predict", [row, row], {}),
        ("/v1/models/telco:predict", {"instances": [row]}, {"x-churn-probe": "true"}),
        ("/v1/models/telco:predict", {"instances": [row]}, {"x-churn-shadow": "true"}),
        ("/v1/models/telco:predict", {"instances": [{}]}, {"x-churn-shadow": "true"}),
        ("/v1/models/telco:predict", {"instances": [row]}, {"x-churn-route": "true"}),
        ("/v2/models/telco/infer", {}, {}),
        ("/nowhere", {}, {}),
    )
    names = {"protocol=predict,outcome=answered,caller=client", "protocol=v1,outcome=answered,caller=probe"}
    names |= {"protocol=v1,outcome=answered,caller=shadow", "protocol=v1,outcome=refused,caller=shadow"}
    names |= {"protocol=v2,outcome=refused,caller=client", "protocol=v1,outcome=answered,caller=gateway"}
    labels = {",".join(sorted(name.split(","))) for name in names}
    assert found == {
        **{f"churn_predictor_requests_total{{{label}}}": 1 for label in labels},
        **{f"churn_predictor_request_seconds_count{{{label}}}": 1 for label in labels},
        "churn_predictor_rows_total{}": 3,
        "churn_predictor_confidence_count{}": 3,
        "churn_predictor_probability_count{}": 3,
    }


async def test_what_training_did_not_see_and_what_is_empty_is_counted_by_column(
    client: httpx.AsyncClient, trained: Trained
) -> None:
    odd = trained.rows[0] | {"contract": "Ten years", "payment_method": None, "tenure": None}
    found = await grown(client, ("/predict", [odd, odd], {}), ("/predict", odd, {"x-churn-probe": "true"}))
    values = {name: value for name, value in found.items() if "column" in name}
    assert values == {
        "churn_predictor_unknown_categories_total{column=contract}": 2,
        "churn_predictor_missing_values_total{column=payment_method}": 2,
        "churn_predictor_missing_values_total{column=tenure}": 2,
    }


async def test_no_request_makes_a_new_column(client: httpx.AsyncClient, trained: Trained) -> None:
    columns = {dict(labels).get("column") for _, labels in await scrape(client)} - {None}
    await client.post("/predict", json=trained.rows[0] | {"made_up": 1})
    assert {dict(labels).get("column") for _, labels in await scrape(client)} - {None} == columns
    assert columns == {feature.name for feature in trained.contract.features}


async def test_the_confidence_is_that_of_the_likelier_answer(client: httpx.AsyncClient, trained: Trained) -> None:
    before = await scrape(client)
    answers = (await client.post("/predict", json=trained.rows[:50])).json()
    after = await scrape(client)
    sure = [max(each["probability"], 1 - each["probability"]) for each in answers]
    labels = {"model": "telco", "version": "v1"}
    for bound in ("0.55", "0.8", "0.95", "1.0", "+Inf"):
        key = ("churn_predictor_confidence_bucket", frozenset((labels | {"le": bound}).items()))
        assert after[key] - before.get(key, 0) == sum(each <= float(bound) for each in sure)
    key = ("churn_predictor_confidence_sum", frozenset(labels.items()))
    assert round(after[key] - before[key], 9) == round(sum(sure), 9)


async def test_probabilities_are_told_in_the_bins_that_training_counts_in(
    client: httpx.AsyncClient, trained: Trained
) -> None:
    before = await scrape(client)
    rows = trained.rows[:200]
    answers = (await client.post("/predict", json=rows)).json()
    for mark in ("x-churn-probe", "x-churn-shadow"):
        await client.post("/predict", json=rows, headers={mark: "true"})
    after = await scrape(client)
    labels = {"model": "telco", "version": "v1"}
    for bound in SCORE_BINS:
        key = ("churn_predictor_probability_bucket", frozenset((labels | {"le": str(bound)}).items()))
        assert after[key] - before.get(key, 0) == sum(each["probability"] <= bound for each in answers)
    key = ("churn_predictor_probability_sum", frozenset(labels.items()))
    assert round(after[key] - before[key], 9) == round(sum(each["probability"] for each in answers), 9)


async def test_a_canary_is_judged_by_what_its_predictor_tells(client: httpx.AsyncClient, trained: Trained) -> None:
    async def counts() -> Counts:
        return parse_counts((await client.get("/metrics", headers={"accept": "text/plain"})).text, "v1", 0.25)

    before = await counts()
    answers = (await client.post("/predict", json=trained.rows[:50])).json()
    await client.post("/predict", json=[])
    await client.post("/predict", json=trained.rows[0], headers={"x-churn-probe": "true"})
    await client.post("/predict", json=trained.rows[0], headers={"x-churn-shadow": "true"})
    found = await counts() - before
    assert found == Counts(requests=1, scores=bins([answer["probability"] for answer in answers]))


def test_what_the_log_calls_a_shadow_or_a_probe_is_called_so_here() -> None:
    marks = {header.lower(): kind.lower() for header, kind in KIND_HEADERS.items()}
    assert {mark: caller_of({mark: "true"}) for mark in (SHADOW_HEADER, PROBE_HEADER)} == {
        mark: marks[mark] for mark in (SHADOW_HEADER, PROBE_HEADER)
    }
    assert caller_of({SHADOW_HEADER: "true", PROBE_HEADER: "true"}) == "shadow"
    assert caller_of({SHADOW_HEADER: "yes"}) == "client"
    assert caller_of({ROUTE_HEADER: "true", PROBE_HEADER: "true"}) == "probe"


async def test_it_is_told_that_clients_of_the_gateway_are_counted_apart_before_there_are_any(
    client: httpx.AsyncClient,
) -> None:
    text = (await client.get("/metrics", headers={"accept": "text/plain"})).text
    assert tells_gateway(parse_metrics(text))


def test_the_promises_of_100_and_250_ms_are_bounds_of_the_histogram() -> None:
    assert {0.1, 0.25} < set(SECONDS)


def test_the_version_is_known_before_anybody_asks(trained: Trained) -> None:
    Meter("telco", "v9", trained.contract)
    text = generate_latest().decode()
    assert parse_counts(text, "v9", 0.1) == Counts()


def bins(probabilities: list[float]) -> tuple[int, ...]:
    lows = (float("-inf"), *SCORE_BINS)
    return tuple(sum(low < p <= high for p in probabilities) for low, high in pairwise(lows))


async def test_latency_is_told_below_a_millisecond(client: httpx.AsyncClient, trained: Trained) -> None:
    await client.post("/predict", json=trained.rows[0])
    bounds = {
        dict(labels)["le"] for name, labels in await scrape(client) if name == "churn_predictor_request_seconds_bucket"
    }
    assert {bound for bound in bounds if float(bound) < 0.001} == {"0.0001", "0.00025", "0.0005", "0.00075"}
