"""What a person says to a model: orders, and runs that they ask for. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from churn_operator.api.approval import Command
from churn_operator.api.base import API_VERSION
from churn_operator.api.churnmodel import ChurnModelStatus, VersionState
from churn_operator.cli import moment
from churn_operator.cli.failure import Absent, Failure
from churn_operator.cli.summary import number_of

Action = Literal["Promote", "Abort", "Rollback"]


def order(
    status: ChurnModelStatus, action: Action, me: str, reason: str, now: datetime, version: str | None = None
) -> Command:
    """What is written into status.command: of the version that was seen on its way, should another take its place.

    Raises:
        Absent: the version that is meant is none of the model's.
        Failure: no version is on its way that could be promoted or aborted; one that comes later is not meant.
    """
    known = [served.version for served in status.versions]
    if version is not None and version not in known:
        raise Absent(f"There is no version {version}: the status knows {', '.join(known) or 'none'}.")
    if action != "Rollback":
        version = next((v.version for v in status.versions if v.state is VersionState.RollingOut), None)
        if version is None:
            raise Failure(f"No version is on its way: there is nothing to {action.lower()}.")
    last = status.command.at if status.command else None
    return Command(action=action, version=version, by=me, at=moment.after(last, now), reason=reason)


def outcome(status: ChurnModelStatus, given: Command) -> str | None:
    """What came of the order; None while nothing has.

    Raises:
        Failure: it was declined, or another order took its place before the operator came to it.
    """
    if status.handled is not None and status.handled.at == given.at:
        if status.handled.outcome == "Declined":
            raise Failure(status.handled.message)
        return status.handled.message
    if status.command is None or status.command.at != given.at:
        other = "somebody" if status.command is None else f"{status.command.by} ({status.command.action})"
        raise Failure(f"Another order, by {other}, took the place of this one before the operator came to it.")
    return None


def next_number(model: str, status: ChurnModelStatus, runs: Iterable[str]) -> int:
    """One that no run ever had."""
    return max([status.last_run, *(number_of(run, model) for run in runs)]) + 1


def run(model: str, namespace: str, number: int, me: str, reason: str) -> dict[str, Any]:
    """A TrainingRun that a person asks for."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": {"name": f"{model}-{number}", "namespace": namespace},
        "spec": {"modelRef": {"name": model}, "trigger": "Manual", "reason": reason, "requestedBy": me},
    }
