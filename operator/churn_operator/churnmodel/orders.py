"""What a person ordered of a rollout. Pure.

An order is pending until it is carried out or declined: an operator that is killed finds it where it was.
"""

from churn_operator.api.analysis import TestOutcome
from churn_operator.api.approval import Command, Handled
from churn_operator.api.churnmodel import ServedVersion, VersionState
from churn_operator.api.reasons import Reason
from churn_operator.api.rollout import RolloutStatus
from churn_operator.churnmodel.moves import Decline, GiveUp, Move, Promote, Restore, Return
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.policies import accepted
from churn_operator.churnmodel.versions import champion_of, rolling_of
from churn_operator.core.objects import Violation


def pending(world: ChurnModelWorld) -> Command | None:
    command, handled = world.status.command, world.status.handled
    if command is None or (handled is not None and (handled.at, handled.action) == (command.at, command.action)):
        return None
    return command


def obey(world: ChurnModelWorld, order: Command, progress: RolloutStatus | None, *, fails: bool) -> Move | None:
    """The move that carries the order out; None where it has to wait, and the rollout goes on as usual.

    `fails`: the version that is on its way must lose its traffic: what a person wants skips no verdict.
    """
    if order.action == "Rollback":
        return _roll_back(world, order)
    rolling = rolling_of(world.status.versions)
    if rolling is None:
        return Decline(f"no version is on its way{_waiting(world)}")
    if order.version not in (None, rolling.version):
        return Decline(f"{rolling.version} is on its way, not {order.version}")
    if order.action == "Abort":
        return GiveUp(rolling, Violation(Reason.Aborted, f"{rolling.version} was aborted by {_who(order)}"))
    passed = progress is not None and progress.verdict is not None and progress.verdict.result is TestOutcome.Pass
    return Promote(rolling, f"{rolling.version} was promoted by {_who(order)}") if passed and not fails else None


def _roll_back(world: ChurnModelWorld, order: Command) -> Move | None:
    """To a version that is warm at once, to another as soon as it answers; what is on its way gives way."""
    versions = world.status.versions
    target, rolling, champion = _target(world, order), rolling_of(versions), champion_of(versions)
    why = Violation(Reason.Recalled, f"{champion.version if champion else 'it'} was rolled back by {_who(order)}")
    if target is None:
        return Decline(f"{order.version} never served" if order.version else "no version served before")
    if target.state is VersionState.Champion:
        return Decline(f"{target.version} serves already")
    if rolling is not None and rolling != target:
        return GiveUp(rolling, why)
    server = world.server(target.version)
    if server is not None and server.answers:
        return Restore(target, why)
    return None if rolling == target else Return(target, why)


def _target(world: ChurnModelWorld, order: Command) -> ServedVersion | None:
    """The version that is meant, or the one that served last before the champion."""
    versions = world.status.versions
    if order.version is not None:
        return next((v for v in versions if v.version == order.version and v.served is not None), None)
    returning = rolling_of(versions)
    if returning is not None and returning.served is not None:
        return returning
    retired = (v for v in versions if v.state is VersionState.Retired)
    return max(retired, key=lambda version: version.since, default=None)


def _waiting(world: ChurnModelWorld) -> str:
    run = accepted(world)
    return "" if run is None else f" yet: {run.status.version} waits, and begins when nothing holds it back any more"


def _who(order: Command) -> str:
    return f"{order.by}: {order.reason}" if order.reason else f"{order.by}."


def handled(order: Command | None, move: Move) -> Handled | None:
    """What came of the order; None while it is pending."""
    if order is None:
        return None
    match move:
        case Decline(why):
            return _came(order, f"Nothing was done: {why}.", done=False)
        case Restore(version, violation):
            return _came(order, f"{version.version} has the traffic: {violation.message}")
        case GiveUp(_, violation):
            return _given_up(order, violation)
        case Promote(_, why):
            return _came(order, why)
        case _:
            return None


def _given_up(order: Command, violation: Violation) -> Handled | None:
    """By the order, or before it could be carried out; what gives way to a rollback leaves that pending."""
    if violation.reason == Reason.Recalled:
        return None
    return _came(order, violation.message, done=violation.reason == Reason.Aborted)


def _came(order: Command, message: str, *, done: bool = True) -> Handled:
    outcome = "Done" if done else "Declined"
    return Handled(at=order.at, action=order.action, outcome=outcome, message=message[:1024])
