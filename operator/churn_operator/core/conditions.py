"""Conditions: judgements that remember when they last changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from churn_operator.api.base import Condition
from churn_operator.core.clock import stamp

STATUS = {True: "True", False: "False", None: "Unknown"}


@dataclass(frozen=True)
class Judgement:
    """What a condition says now; `holds` is None where it was not measured."""

    type: str
    holds: bool | None
    reason: str
    message: str


def conditions(
    before: Sequence[Condition], judgements: Sequence[Judgement], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The judgements as conditions; a transition time moves only when the status does."""
    last = {condition.type: condition for condition in before}

    def condition(judgement: Judgement) -> Condition:
        previous = last.get(judgement.type)
        status = STATUS[judgement.holds]
        same = previous is not None and previous.status == status
        return Condition(
            type=judgement.type,
            status=status,
            reason=judgement.reason,
            message=judgement.message[:2048],
            last_transition_time=previous.last_transition_time if previous is not None and same else stamp(now),
            observed_generation=generation,
        )

    return tuple(condition(judgement) for judgement in judgements)
