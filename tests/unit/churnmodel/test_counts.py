"""What is read of a predictor's /metrics."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.samples import Sample
from support.predictor_metrics import scraped

from churn_operator.churnmodel.counts import Counts, count, parse_counts, parse_metrics

SECONDS = {"version": "v2", "caller": "client", "outcome": "answered"}
scores = st.lists(st.integers(0, 100), min_size=20, max_size=20).map(tuple)
counts = st.builds(Counts, st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), scores)


def binned(**by_number: int) -> tuple[int, ...]:
    return tuple(by_number.get(f"bin{number}", 0) for number in range(20))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(scraped(), Counts(), id="nobody has asked yet"),
        pytest.param(
            scraped(("v1", "answered", "client", 0.01), ("grpc", "answered", "client", 0.01)),
            Counts(requests=2),
            id="protocols are counted together",
        ),
        pytest.param(
            scraped(("v1", "failed", "client", 0.01), ("grpc", "abandoned", "client", 3)),
            Counts(requests=2, errors=2),
            id="what fails or is given up is an error, and not slow as well",
        ),
        pytest.param(scraped(("v1", "refused", "client", 0.2)), Counts(), id="what is refused is the client's fault"),
        pytest.param(
            scraped(("v1", "answered", "probe", 0.2), ("v1", "failed", "probe", 0.2)),
            Counts(),
            id="probes do not count",
        ),
        pytest.param(
            scraped(*(("v1", "answered", "client", took) for took in (0.1, 0.11, 0.3, 5))),
            Counts(requests=4, slow=3),
            id="slow is above the promise",
        ),
        pytest.param(
            scraped(probabilities=(0.0, 0.05, 0.0501, 0.97, 1.0)),
            Counts(scores=binned(bin0=2, bin1=1, bin19=2)),
            id="a probability on a bound is below it",
        ),
    ],
)
def test_what_is_counted(text: str, expected: Counts) -> None:
    assert parse_counts(text, "v2", 0.1) == expected


@pytest.mark.parametrize(
    ("slo", "slow"),
    [
        pytest.param(0.05, 3, id="a bound itself"),
        pytest.param(0.06, 2, id="the next bound above"),
        pytest.param(0.5, 0, id="the last one"),
        pytest.param(2, 0, id="beyond the last one all are in time"),
    ],
)
def test_the_promise_is_judged_at_the_next_bound(slo: float, slow: int) -> None:
    text = scraped(*(("v1", "answered", "client", took) for took in (0.01, 0.07, 0.15, 0.4)))
    assert parse_counts(text, "v2", slo).slow == slow


def test_an_older_predictor_tells_no_scores() -> None:
    text = "".join(line for line in scraped().splitlines(keepends=True) if "probability" not in line)
    assert parse_counts(text, "v2", 0.1) == Counts()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("<html>502</html>", "not the text format", id="a proxy's page"),
        pytest.param('churn_predictor_rows_total{version="v2" 1\n', "not the text format", id="cut off"),
        pytest.param("", "nothing is told of v2", id="nothing"),
        pytest.param(scraped(version="v1"), "nothing is told of v2", id="another version"),
        pytest.param(scraped().replace('le="0.5"', 'le="0.51"'), "other bounds", id="other bins"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_counts(text, "v2", 0.1)


@given(st.text())
def test_no_text_does_worse_than_to_be_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not the text format|nothing is told"):
        parse_counts(text, "v2", 0.1)


@given(counts, counts)
def test_what_was_added_can_be_taken_away(earlier: Counts, more: Counts) -> None:
    assert earlier + more - earlier == more


@given(counts, counts, counts)
def test_the_order_in_which_counts_are_added_does_not_matter(one: Counts, other: Counts, third: Counts) -> None:
    assert (one + other) + third == third + (other + one)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("requests", 9, id="requests"),
        pytest.param("errors", 0, id="errors"),
        pytest.param("scores", binned(bin0=50), id="a bin"),
    ],
)
def test_a_process_that_began_anew_has_counted_all_it_tells(field: str, value: Any) -> None:
    earlier = Counts(requests=10, errors=1, slow=0, scores=binned(bin0=50, bin1=1))
    later = Counts(**{"requests": 30, "errors": 2, "slow": 1, "scores": binned(bin0=90, bin1=9), field: value})
    assert later - earlier == later


@pytest.mark.parametrize(
    "number",
    [
        pytest.param("-1", id="less than none"),
        pytest.param("+Inf", id="infinite"),
        pytest.param("NaN", id="none at all"),
        pytest.param("1e300", id="more than a double can count"),
    ],
)
def test_what_is_no_count_is_refused(number: str) -> None:
    text = f'churn_predictor_requests_total{{version="v2",caller="client",outcome="failed"}} {number}\n'
    with pytest.raises(ValueError, match="which is no count"):
        parse_counts(text, "v2", 0.1)


def test_a_histogram_that_falls_is_refused() -> None:
    samples = parse_metrics(scraped(probabilities=(0.01,)))
    fallen = [s._replace(value=0) if s.labels.get("le") == "1.0" else s for s in samples]
    with pytest.raises(ValueError, match="counts fall"):
        count(fallen, "v2", 0.1)
    name = "churn_predictor_request_seconds_bucket"
    slow = [Sample(name, SECONDS | {"le": bound}, number) for bound, number in (("1.0", 2), ("+Inf", 1))]
    with pytest.raises(ValueError, match="counts fall"):
        count(slow, "v2", 0.1)
