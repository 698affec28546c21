"""The commands of `kubectl churn`."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from churn_operator.api.approval import Command
from churn_operator.api.base import parse_duration
from churn_operator.api.churnmodel import ChurnModel, ChurnModelStatus
from churn_operator.api.driftmonitor import DriftMonitor
from churn_operator.api.trainingrun import TrainingRun
from churn_operator.cli import ask, chain, evidence, orders
from churn_operator.cli import report as reports
from churn_operator.cli.app import Session, command
from churn_operator.cli.evidence import Decision
from churn_operator.cli.failure import Absent, Code, Conflict, Failure
from churn_operator.cli.judgement import Judgement, judge
from churn_operator.cli.summary import name_of, read, run_of, summarise
from churn_operator.cli.tree import evidence_tree, line, tree
from churn_operator.cli.watching import Watched

ATTEMPTS = 5
"""Writes that may find that the object has changed meanwhile, or the name is taken."""
QUESTION: Mapping[Decision, str] = {"Approved": "Approve", "Rejected": "Reject"}


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return text


def _seconds(text: str) -> float:
    return parse_duration(text).total_seconds()


ModelName = Annotated[str, typer.Argument(help="Name of the ChurnModel.", metavar="NAME", show_default=False)]
RunName = Annotated[str, typer.Argument(help="Name of the TrainingRun.", metavar="RUN", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why; it stays in the cluster.", metavar="TEXT", show_default=False)]
Why = Annotated[str, typer.Option(help="Why; it stays in the cluster.", metavar="TEXT")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether you are sure.")]
Reviewed = Annotated[
    str | None,
    typer.Option(
        "--digest", help="The evidence that you reviewed; refuses when another is on offer.", metavar="SHA256"
    ),
]
Wait = Annotated[bool, typer.Option(help="Wait until the operator says what came of it.")]
Timeout = Annotated[
    str, typer.Option("--timeout", callback=_duration, help="How long to wait, such as 30s, 10m or 1h.", metavar="TIME")
]


@command
async def status(
    session: Session,
    name: ModelName,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Draw again at each change, until ctrl-c.")] = False,
    runs: Annotated[int, typer.Option(help="How many of the last runs to show.", min=0)] = 3,
) -> None:
    """Show all there is to know of a model.

    What serves and since when, where the traffic goes and why, each number that a canary is judged by, the last
    runs with their gates, what waits for a person, and drift.
    """
    if not watch:
        model = await session.cluster.get(ChurnModel, name)
        of_model = f"spec.modelRef.name={name}"
        trainings, _ = await session.cluster.list(TrainingRun, of_model)
        monitors, _ = await session.cluster.list(DriftMonitor, of_model)
        summary = summarise(model, list(trainings.values()), list(monitors.values()), runs)
        session.show(summary.to_dict(), tree(summary, _now()))
        return
    await session.cluster.get(ChurnModel, name)
    try:
        await Watched(session, name, runs).follow()
    except asyncio.CancelledError:  # ctrl-c: a watch has no other end
        return


@command
async def check(
    session: Session,
    name: ModelName,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is so, or cannot become so.")] = False,
    patience: Timeout = "10m",
) -> None:
    """Tell by the exit code whether a model is well.

    0 when it is Ready and no rollout is under way, 1 when it is degraded or was rolled back, 2 when it is not
    there: for scripts and CI. While the version before stays warm (the guard time), a rollout counts as done: all
    of the traffic has moved. With --wait, what can still become so is waited for.
    """
    await session.cluster.get(ChurnModel, name)
    judgement, late = await _judged(session, name, _seconds(patience) if wait else None)
    message = f"Not after {patience}. {judgement.message}" if late else judgement.message
    document = {"name": name, "namespace": session.namespace, "ok": judgement.holds, "message": message}
    session.show(document, line(message))
    if not judgement.holds:
        raise typer.Exit(Code.No)


@command
async def report(
    session: Session,
    name: ModelName,
    *,
    after: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(help="An earlier report of this model (-o json) to go on from.", metavar="FILE"),
    ] = None,
) -> None:
    """Tell an auditor why each version serves, and who said so.

    Runs, data, gates, approvals and what happened, from what status says, and whether one bears out the other: the
    exit code is 1 when a check fails. What happened is a chain of hashes. Keep each report (-o json) where nobody
    can write twice, and give the last one to the next (--after): it has all that the cluster forgot since, and fails
    where the cluster tells otherwise now.
    """
    model = await session.cluster.get(ChurnModel, name)
    earlier = None if after is None else chain.read(after.read(), after.name, reports.chain_of(model))
    runs, _ = await session.cluster.list(TrainingRun, f"spec.modelRef.name={name}")
    found = reports.report(model, list(runs.values()), earlier, _now())
    session.show(found.to_dict(), reports.text(found))
    if found.fails:
        raise typer.Exit(Code.No)


async def _judged(session: Session, name: str, seconds: float | None) -> tuple[Judgement, bool]:
    """The answer, and whether it did not become a final one in time."""
    judgement = None
    try:
        async with (
            asyncio.timeout(seconds),
            aclosing(session.cluster.changes(ChurnModel, f"metadata.name={name}")) as changes,
        ):
            async for found in changes:
                if name not in found:
                    raise Absent(f"ChurnModel {name} was deleted.")
                judgement = judge(summarise(found[name], (), ()))
                if judgement.final or judgement.holds or seconds is None:
                    return judgement, False
    except TimeoutError:
        if judgement is not None:
            return judgement, True
    raise Failure("The API server did not answer in time.", Code.Unreachable)


@command
async def approve(
    session: Session,
    run: RunName,
    *,
    comment: Annotated[str, typer.Option(help="Why; it stays in the cluster.", metavar="TEXT")] = "",
    digest: Reviewed = None,
    yes: Yes = False,
) -> None:
    """Let a run's version roll out.

    For a run that passed every gate and waits in phase AwaitingApproval. Shows its evidence and asks before it
    writes your name, the time and the evidence's digest into the run's status.
    """
    await _decide(session, run, "Approved", comment, digest, yes=yes)


@command
async def reject(
    session: Session,
    run: RunName,
    *,
    reason: Reason,
    digest: Reviewed = None,
    yes: Yes = False,
) -> None:
    """Let a run's version never serve.

    For a run that passed every gate and waits in phase AwaitingApproval; the champion serves on. Shows its evidence
    and asks before it writes.
    """
    await _decide(session, run, "Rejected", reason, digest, yes=yes)


async def _decide(
    session: Session, name: str, decided: Decision, comment: str, digest: str | None, *, yes: bool
) -> None:
    me = await session.cluster.whoami()
    live = await session.cluster.get(TrainingRun, name)
    offer = run_of(live)
    _stop(evidence.obstacle(offer, me, digest))
    if not yes:
        session.note(evidence_tree(offer, _now()))
        ask.sure(f"{QUESTION[decided]} {name} as {me}?")
    for _ in range(ATTEMPTS):
        try:
            approval = evidence.decision(offer, decided, me, comment, _now())
            await session.cluster.apply_status(TrainingRun, live, {"approval": approval.to_dict()})
        except Conflict:  # the run has changed since it was shown; perhaps not in what was shown
            live = await session.cluster.get(TrainingRun, name)
            _stop(evidence.obstacle(run_of(live), me, offer.evidence_digest))
            continue
        document = {"run": name, "namespace": session.namespace, "approval": approval.to_dict()}
        session.show(
            document, line(f"TrainingRun {name}", decided, f"by {me}, on evidence {approval.evidence_digest}.")
        )
        return
    raise Failure(f"TrainingRun {name} changes too often to be written to: try again.")


@command
async def promote(
    session: Session,
    name: ModelName,
    *,
    reason: Why = "",
    wait: Wait = True,
    patience: Timeout = "60s",
) -> None:
    """Move all traffic to the new version.

    As soon as its analysis has passed, without waiting for the remaining steps.
    """
    await _order(session, name, _Order("Promote", reason), patience if wait else None)


@command
async def abort(
    session: Session,
    name: ModelName,
    *,
    reason: Why = "",
    wait: Wait = True,
    patience: Timeout = "60s",
) -> None:
    """Give up the new version.

    The one that is on its way loses its traffic at once; the champion serves on.
    """
    await _order(session, name, _Order("Abort", reason), patience if wait else None)


@command
async def rollback(
    session: Session,
    name: ModelName,
    *,
    reason: Why = "",
    to: Annotated[str | None, typer.Option(help="A version that served; else the last.", metavar="VERSION")] = None,
    wait: Wait = True,
    patience: Timeout = "60s",
) -> None:
    """Return to a version that served before.

    To the one that served last before the champion, or to the one that --to names; what is on its way gives way.
    """
    await _order(session, name, _Order("Rollback", reason, to), patience if wait else None)


@dataclass(frozen=True)
class _Order:
    action: orders.Action
    reason: str
    version: str | None = None


async def _order(session: Session, name: str, wanted: _Order, patience: str | None) -> None:
    me = await session.cluster.whoami()
    given = await _given(session, name, wanted, me)
    document: dict[str, Any] = {"name": name, "namespace": session.namespace, "command": given.to_dict()}
    if patience is None:
        session.show(document, line(f"{wanted.action} is ordered of ChurnModel {name}, at {given.at}."))
        return
    try:
        async with asyncio.timeout(_seconds(patience)):
            message = await _came(session, name, given)
    except TimeoutError:
        raise Failure(
            f"{wanted.action} is ordered of ChurnModel {name}, and was not carried out within {patience}. It stays "
            f"ordered; `kubectl churn status {name} -n {session.namespace}` says what it waits for."
        ) from None
    session.show(document | {"message": message}, line(message))


async def _given(session: Session, name: str, wanted: _Order, me: str) -> Command:
    for _ in range(ATTEMPTS):
        live = await session.cluster.get(ChurnModel, name)
        status = read(ChurnModelStatus, live, "status")
        given = orders.order(status, wanted.action, me, wanted.reason, _now(), wanted.version)
        try:
            await session.cluster.apply_status(ChurnModel, live, {"command": given.to_dict()})
        except Conflict:  # the operator writes to the same status
            continue
        return given
    raise Failure(f"ChurnModel {name} changes too often to be written to: try again.")


async def _came(session: Session, name: str, given: Command) -> str:
    async with aclosing(session.cluster.changes(ChurnModel, f"metadata.name={name}")) as changes:
        async for found in changes:
            if name not in found:
                raise Absent(f"ChurnModel {name} was deleted.")
            message = orders.outcome(read(ChurnModelStatus, found[name], "status"), given)
            if message is not None:
                return message
    raise Failure("The watch ended.", Code.Unreachable)


@command
async def retrain(session: Session, name: ModelName, reason: Reason) -> None:
    """Ask for a training run now.

    Whatever the triggers say, and in your name. Its model is judged by the gates like any other; where the model
    asks for approval, somebody else has to give it.
    """
    me = await session.cluster.whoami()
    model = await session.cluster.get(ChurnModel, name)
    runs, _ = await session.cluster.list(TrainingRun, f"spec.modelRef.name={name}")
    number = orders.next_number(name, read(ChurnModelStatus, model, "status"), runs)
    for attempt in range(ATTEMPTS):
        wanted = orders.run(name, session.namespace, number + attempt, me, reason)
        try:
            await session.cluster.create(TrainingRun, wanted)
        except Conflict:  # somebody, or the operator, has just opened a run of this number
            continue
        document = {"run": name_of(wanted), "namespace": session.namespace, "spec": wanted["spec"]}
        session.show(document, line(f"TrainingRun {name_of(wanted)} is created, requested by {me}."))
        return
    raise Failure(f"The numbers from {number} on are all taken: try again.")


def _stop(obstacle: str | None) -> None:
    if obstacle is not None:
        raise Failure(obstacle)


def _now() -> datetime:
    return datetime.now(UTC)
