"""Conditions: judgements that remember when they last changed, and since when somebody is away."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from churn_operator.api.base import Condition
from churn_operator.api.reasons import Reason
from churn_operator.core.clock import stamp

SINCE = "Since "
SAID = re.compile(rf"(^|: ){SINCE}\S+: ")
"""A message that tells since when, or repeats one that does after a word on whose it is."""
AWAY = frozenset(
    {
        Reason.AnalysisUnavailable,
        Reason.DataUnreachable,
        Reason.GatewayUnavailable,
        Reason.StorageUnavailable,
        Reason.TrackingUnavailable,
        Reason.WebhookUnavailable,
    }
)
"""Reasons that name a neighbour."""
OUTCOME = "Succeeded"
"""What a run came to. Once it failed nobody is waited for."""
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
            message=_message(judgement, previous, now)[:2048],
            last_transition_time=previous.last_transition_time if previous is not None and same else stamp(now),
            observed_generation=generation,
        )

    return tuple(condition(judgement) for judgement in judgements)


def _message(judgement: Judgement, before: Condition | None, now: datetime) -> str:
    """The message; where a neighbour is away it begins with the time since when.

    A transition time cannot tell: what was unknown for another reason before has made no transition. Nor can a Job that
    missed it anew: it knows nothing of the Job before.
    """
    has_ended = judgement.type == OUTCOME and judgement.holds is False
    said = SAID.search(judgement.message)
    if judgement.reason not in AWAY or has_ended or (said and said.start() > 0):
        return judgement.message
    was_away = before is not None and before.reason == judgement.reason and before.message.startswith(SINCE)
    if before is None or not was_away:
        return judgement.message if said else f"{SINCE}{stamp(now)}: {judgement.message}"
    since, told = before.message.partition(": ")[0], judgement.message[said.end() if said else 0 :]
    return f"{since}: {told}"
