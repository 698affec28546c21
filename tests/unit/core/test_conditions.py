"""When a condition changed, and since when somebody is away."""

from datetime import timedelta

import pytest
from support.kinds import NOW

from churn_operator.api.base import Condition
from churn_operator.core.clock import stamp
from churn_operator.core.conditions import Judgement, conditions

LATER = NOW + timedelta(minutes=10)
AWAY = Judgement("Trained", None, "TrackingUnavailable", "MLflow at http://mlflow does not answer.")
UNDER_WAY = Judgement("Trained", None, "TrainingInProgress", "telco-1 is under way.")


def judged(*judgements: Judgement) -> Condition:
    """The condition after these judgements, ten minutes apart."""
    before: tuple[Condition, ...] = ()
    for number, judgement in enumerate(judgements):
        before = conditions(before, (judgement,), 1, NOW + number * (LATER - NOW))
    return before[0]


def test_a_transition_time_moves_with_the_status_only() -> None:
    assert judged(UNDER_WAY, AWAY).last_transition_time == stamp(NOW)
    accepted = Judgement("Trained", holds=True, reason="RunAccepted", message="")
    assert judged(UNDER_WAY, accepted).last_transition_time == stamp(LATER)


@pytest.mark.parametrize(
    ("judgements", "since"),
    [
        pytest.param([AWAY], NOW, id="from the first time on"),
        pytest.param([AWAY, AWAY, AWAY], NOW, id="for as long as it lasts"),
        pytest.param(
            [AWAY, Judgement("Trained", None, "TrackingUnavailable", "It answers 500.")], NOW, id="whatever is heard"
        ),
        pytest.param([UNDER_WAY, AWAY], LATER, id="not since another thing was unknown"),
        pytest.param([AWAY, UNDER_WAY, AWAY], NOW + 2 * (LATER - NOW), id="anew after it came back"),
        pytest.param(
            [Judgement("RolloutHealthy", holds=False, reason="WebhookUnavailable", message="refused")] * 2,
            NOW,
            id="a webhook, too",
        ),
    ],
)
def test_who_is_away_is_told_with_the_time_since_when(judgements: list[Judgement], since: object) -> None:
    message = judged(*judgements).message
    assert message == f"Since {since:%Y-%m-%dT%H:%M:%SZ}: {judgements[-1].message}"


def test_what_has_ended_is_told_without() -> None:
    failed = Judgement("Succeeded", holds=False, reason="TrackingUnavailable", message="MLflow did not answer.")
    assert judged(failed).message == "MLflow did not answer."
