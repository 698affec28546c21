"""What /metrics tells of each ChurnModel."""

from typing import Any

from churn_operator.core.gauges import ModelGauges

SLO = {"p95Milliseconds": 250, "maxErrorRate": 0.02}


def model(name: str, **conditions: str) -> dict[str, Any]:
    told = [{"type": kind, "status": status, "reason": "Because"} for kind, status in conditions.items()]
    return {
        "kind": "ChurnModel",
        "metadata": {"name": name, "namespace": "team"},
        "spec": {"serving": {"slo": SLO}},
        "status": {"conditions": told},
    }


def samples(gauges: ModelGauges) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("churn_model_"), *sample.labels.values()): sample.value
        for family in gauges.collect()
        for sample in family.samples
    }


def test_a_model_tells_its_promise_and_each_condition_as_it_is_now() -> None:
    gauges = ModelGauges()
    gauges(model("telco", Ready="Unknown"), gone=False, first=True)
    gauges(model("telco", Ready="True", Trained="False"), gone=False, first=False)
    assert samples(gauges) == {
        ("condition", "team", "telco", "Ready", "True"): 1,
        ("condition", "team", "telco", "Trained", "False"): 1,
        ("slo_seconds", "team", "telco"): 0.25,
        ("slo_error_ratio", "team", "telco"): 0.02,
    }


def test_a_model_without_a_status_has_a_promise_already() -> None:
    gauges = ModelGauges()
    new = model("telco")
    del new["status"]
    gauges(new, gone=False, first=False)
    assert set(samples(gauges)) == {("slo_seconds", "team", "telco"), ("slo_error_ratio", "team", "telco")}


def test_nothing_is_told_of_a_model_that_is_gone_nor_of_other_kinds() -> None:
    gauges = ModelGauges()
    for name in ("telco", "gym"):
        gauges(model(name), gone=False, first=True)
    gauges({"kind": "Job", "metadata": {"name": "gym", "namespace": "team"}}, gone=True, first=False)
    gauges(model("telco"), gone=True, first=False)
    gauges(model("telco"), gone=True, first=False)
    assert {key[2] for key in samples(gauges)} == {"gym"}
