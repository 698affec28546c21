"""`probe`: which state a source is in."""

from churn_operator.api.tasks import ProbeResult, ProbeTask
from churn_operator.jobs import data


def probe(task: ProbeTask) -> ProbeResult:
    return ProbeResult(revision=data.resolve(task.source))
