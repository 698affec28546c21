"""The chart's alerts, played by Prometheus' own tool over series whose names are those that our programs tell."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY
from support.helm import CHART
from support.prometheus_server import promtool

import churn_operator.collector.metrics
import churn_operator.core.gauges
import churn_operator.core.metrics
import churn_operator.predictor.metrics  # noqa: F401 - registers what it tells, as the others do

RULES = CHART / "files/alerts.yaml"
PLAYED = Path(__file__).parent / "alerts-test.yaml"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_alerts_stand_when_they_should_and_not_before(tmp_path: Path) -> None:
    played = tmp_path / "alerts-test.yaml"
    played.write_text(PLAYED.read_text().replace("RULES", str(RULES)))
    done = subprocess.run([promtool(), "test", "rules", played], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_played() -> None:
    assert {rule["alert"] for rule in rules()} == set(re.findall(r'alertname(?:: |=")(\w+)', PLAYED.read_text()))


def test_each_series_that_an_alert_asks_for_is_told_by_a_program() -> None:
    told = {name for family in REGISTRY.collect() for name in names(family.name, family.type)}
    asked = {name for rule in rules() for name in re.findall(r"\bchurn_\w+", rule["expr"])}
    assert asked
    assert asked <= told


def names(family: str, kind: str) -> set[str]:
    """Of the series that a family consists of."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {family + suffix for suffix in suffixes.get(kind, ("",))}
