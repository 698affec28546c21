"""Which Prometheus is asked, and what."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.samples import Sample
from support.kinds import SETTINGS

from churn_operator.api.analysis import PrometheusSpec
from churn_operator.churnmodel.promql import by_pod, chosen_url, counters_query
from churn_operator.core.objects import Key

TELCO = Key("ChurnModel", "team", "telco")
TWO = SETTINGS.model_copy(update={"prometheus_urls": "http://one:9090,https://two/west/"})


def query(settings: Any = SETTINGS, **labels: str) -> str:
    return counters_query(TELCO, "v2", PrometheusSpec(labels=labels), settings)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param(None, "http://one:9090", id="the first where none is named"),
        pytest.param("https://two/west", "https://two/west", id="one that is allowed"),
        pytest.param("http://one:9090/", "http://one:9090/", id="with or without a slash at its end"),
    ],
)
def test_who_is_asked(url: str | None, expected: str) -> None:
    assert chosen_url(PrometheusSpec(url=url), TWO) == expected


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://one:9091", id="another port"),
        pytest.param("http://one:9090/admin", id="another path"),
        pytest.param("https://one:9090", id="another scheme"),
        pytest.param("http://one:9090.example.com", id="another host that begins alike"),
        pytest.param("http://169.254.169.254/", id="the machine's own secrets"),
    ],
)
def test_nobody_else_is_asked(url: str) -> None:
    with pytest.raises(ValueError, match=r"analysis\.prometheus\.urls lacks"):
        chosen_url(PrometheusSpec(url=url), TWO)


def test_nobody_is_asked_where_the_chart_allows_none() -> None:
    with pytest.raises(ValueError, match="names none"):
        chosen_url(PrometheusSpec(url="http://one:9090"), SETTINGS)


def test_the_query_is_about_the_models_own_series() -> None:
    series = (
        '{__name__=~"churn_predictor_(requests_total|request_seconds_bucket|probability_bucket)",namespace="team",'
        'model="telco",version="v2",caller=~"client|gateway|",cluster="west"}'
    )
    labels = "__name__,pod,version,protocol,outcome,caller,le"
    assert query(cluster="west") == f"max by ({labels}) ({series} and timestamp({series}) > time() - 180)"


def test_namespace_and_pod_are_told_by_the_labels_that_the_chart_names() -> None:
    named = {"prometheus_namespace_label": "kubernetes_namespace", "prometheus_pod_label": "kubernetes_pod_name"}
    asked = query(SETTINGS.model_copy(update=named))
    assert ',kubernetes_namespace="team",' in asked
    assert asked.startswith("max by (__name__,kubernetes_pod_name,")


@given(st.text())
def test_a_value_stays_a_value(value: str) -> None:
    quoted = query(cluster=value).partition(",cluster=")[2]
    assert json.JSONDecoder().raw_decode(quoted)[0] == value
    assert quoted[json.JSONDecoder().raw_decode(quoted)[1]] == "}"


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", 'a="b",c', "a\n", "ä"])
def test_what_is_no_name_of_a_label_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a label"):
        query(**{name: "x"})


def test_samples_are_put_together_by_pod() -> None:
    one, other, nobodys = (Sample("n", labels, 1) for labels in ({"pod": "a"}, {"pod": "b"}, {}))
    assert by_pod([one, other, one, nobodys], "pod") == {"a": [one, one], "b": [other], "": [nobodys]}
