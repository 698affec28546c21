"""What to do about a ChurnModel: where traffic goes, and whether to train again. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from churn_operator.api.base import parse_duration
from churn_operator.api.churnmodel import VersionState
from churn_operator.api.reasons import Reason
from churn_operator.churnmodel.moves import Stay
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.policies import Wish, held, is_served, number, probed, tried, wished
from churn_operator.churnmodel.rollout import Rollout, decide_rollout
from churn_operator.churnmodel.versions import guard_ends
from churn_operator.core.job import Absent
from churn_operator.core.objects import Violation

IDLE = timedelta(minutes=1)
SOON = timedelta(seconds=2)


@dataclass(frozen=True)
class Open:
    """A TrainingRun is opened, for the state of the data that the probe found, where one was needed."""

    number: int
    wish: Wish
    revision: str | None


@dataclass(frozen=True)
class Held:
    """A retraining is wanted, and waits."""

    wish: Wish
    violation: Violation


@dataclass(frozen=True)
class Content:
    """No retraining is wanted beyond what is under way."""


Retraining = Open | Held | Content


@dataclass(frozen=True)
class Decision:
    """Both answers; `probe` asks for the state of the source in the present slot."""

    rollout: Rollout
    retraining: Retraining
    probe: bool
    wake: timedelta | None


def decide(world: ChurnModelWorld, now: datetime) -> Decision:
    rollout = decide_rollout(world, now)
    retraining = decide_retraining(world, now)
    return Decision(rollout, retraining, _needs_probe(world, retraining), _wake(world, rollout, retraining, now))


def decide_retraining(world: ChurnModelWorld, now: datetime) -> Retraining:
    wish = wished(world)
    if wish is None or is_served(world, wish):
        return Content()
    violation = held(world, wish, now)
    return Open(next_number(world), wish, probed(world)) if violation is None else Held(wish, violation)


def next_number(world: ChurnModelWorld) -> int:
    """One more than any run of this model ever had."""
    used = [run.number for run in world.runs] + [number(version.version) for version in world.status.versions]
    return max([*used, world.taken, world.status.last_run]) + 1


def _needs_probe(world: ChurnModelWorld, retraining: Retraining) -> bool:
    """The source is asked for its state while an answer matters; what was asked stays until the run is there."""
    if world.spec.suspend or not tried(world):
        return False
    waits_for_data = isinstance(retraining, Held) and retraining.violation.reason not in (
        Reason.RunInFlight,
        Reason.CoolingDown,
        Reason.TrackingUnavailable,
    )
    opens = isinstance(retraining, Open) and not isinstance(world.probe, Absent)
    return waits_for_data or opens or "NewData" in world.spec.retraining.triggers


def _wake(world: ChurnModelWorld, rollout: Rollout, retraining: Retraining, now: datetime) -> timedelta:
    """The soonest of: the next look at the servers, the next probe, the end of a guard time or cooldown."""
    champion = rollout.champion and world.server(rollout.champion.version)
    is_silent = rollout.stand_in is not None or (champion and not champion.answers)
    if not isinstance(rollout.move, Stay) or isinstance(retraining, Open) or is_silent:
        return SOON
    wakes = [IDLE]
    if any(v.state is not VersionState.Retired for v in rollout.served):
        wakes.append(timedelta(seconds=world.settings.probe_seconds))
    guards = (guard_ends(world, v) - now for v in rollout.served if v.state is VersionState.Retired)
    wakes += [left for left in guards if left > timedelta(0)]
    if _needs_probe(world, retraining):
        interval = parse_duration(world.spec.retraining.probe_interval).total_seconds()
        wakes.append(timedelta(seconds=(world.probe_slot + 1) * interval - now.timestamp()))
    return max(min(wakes), timedelta(seconds=1))
