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


def judgement(kind: str, reason: str, *, holds: bool | None = None) -> Judgement:
    return Judgement(kind, holds, reason, "It does not answer.")


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
        pytest.param([judgement("Ready", "StorageUnavailable", holds=False)] * 2, NOW, id="the object store"),
        pytest.param([judgement("Ready", "DataUnreachable", holds=False)] * 2, NOW, id="a source"),
        pytest.param([judgement("RolloutHealthy", "GatewayUnavailable", holds=False)] * 2, NOW, id="the gateway"),
        pytest.param([judgement("RolloutHealthy", "AnalysisUnavailable")] * 2, NOW, id="the metrics"),
        pytest.param(
            [judgement("RolloutHealthy", "AnalysisUnavailable"), judgement("RolloutHealthy", "StorageUnavailable")],
            LATER,
            id="another one anew",
        ),
    ],
)
def test_who_is_away_is_told_with_the_time_since_when(judgements: list[Judgement], since: object) -> None:
    message = judged(*judgements).message
    assert message == f"Since {since:%Y-%m-%dT%H:%M:%SZ}: {judgements[-1].message}"


@pytest.mark.parametrize("reason", ["TrackingUnavailable", "StorageUnavailable", "DataUnreachable"])
def test_what_has_ended_is_told_without(reason: str) -> None:
    assert judged(judgement("Succeeded", reason, holds=False)).message == "It does not answer."


def test_what_is_repeated_as_it_was_said_is_not_said_to_be_since_twice() -> None:
    first = judged(judgement("Ready", "StorageUnavailable", holds=False))
    (again,) = conditions((first,), (Judgement("Ready", False, first.reason, first.message),), 1, LATER)  # noqa: FBT003 - a condition's status
    assert again.message == first.message == f"Since {stamp(NOW)}: It does not answer."


def test_what_began_anew_is_since_the_first_time() -> None:
    first = judged(judgement("Ready", "StorageUnavailable", holds=False))
    said = f"Since {stamp(LATER)}: No answer. Attempt 1 of 7 ended so."
    (again,) = conditions((first,), (Judgement("Ready", False, first.reason, said),), 1, LATER)  # noqa: FBT003 - a condition's status
    assert again.message == f"Since {stamp(NOW)}: No answer. Attempt 1 of 7 ended so."
    assert judged(UNDER_WAY, Judgement("Trained", None, "StorageUnavailable", said)).message == said


@pytest.mark.parametrize("who", ["DriftMonitor telco: ", "No run was opened: "])
def test_what_somebody_else_said_to_be_since_is_since_then(who: str) -> None:
    said = f"{who}{judged(judgement('Ready', 'StorageUnavailable', holds=False)).message}"
    assert judged(UNDER_WAY, Judgement("Trained", None, "StorageUnavailable", said)).message == said


def test_a_word_in_the_middle_is_no_time_since_when() -> None:
    words = "MLflow says: Since when? It does not answer."
    assert judged(Judgement("Trained", None, "TrackingUnavailable", words)).message == f"Since {stamp(NOW)}: {words}"
