"""Which version serves, and how much of the traffic a challenger gets. Pure.

Starting ─ answers ─▶ Shifting, step by step ─ the last one passed ─▶ Guarding ─ guard is over ─▶ Complete
                  ├─▶ Shifting, half and half ─ it won ────────────────┤
                  └─▶ Shadowing ─ the replay passed ───────────────────┘
└──── too late ────┴── fails, or falls silent ──▶ RolledBack ◀── a breach ──┘
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from churn_operator.api.analysis import TestOutcome, Verdict
from churn_operator.api.approval import Handled
from churn_operator.api.base import parse_duration
from churn_operator.api.churnmodel import FallbackStatus, Quarantine, ServedVersion
from churn_operator.api.reasons import Reason
from churn_operator.api.rollout import Comparison, Counters, RolloutPhase, RolloutStatus, Winner
from churn_operator.churnmodel.analysis import Terms, breach, compare, judge
from churn_operator.churnmodel.counts import Counts
from churn_operator.churnmodel.fallback import SETTLING, fallback_of, is_over, stands_in
from churn_operator.churnmodel.labels import ASKED_ONE_BY_ONE, known_of, labelled, unread, wanted
from churn_operator.churnmodel.moves import GiveUp, Move, Promote, Replay, Restore, Shift, Start, Stay
from churn_operator.churnmodel.observe import COUNTED, ChurnModelWorld, Constant, ServerSeen, as_counts, splits
from churn_operator.churnmodel.orders import handled, obey, pending
from churn_operator.churnmodel.pods import crash
from churn_operator.churnmodel.policies import accepted
from churn_operator.churnmodel.progress import based, progress_after
from churn_operator.churnmodel.shadow import shadowed
from churn_operator.churnmodel.versions import (
    champion_of,
    guard_ends,
    guarding,
    has_server,
    quarantine_after,
    rolling_of,
    version_of,
    versions_after,
    warm,
)
from churn_operator.core import clock
from churn_operator.core.job import Running
from churn_operator.core.objects import Violation

JUDGED = frozenset({RolloutPhase.Shifting, RolloutPhase.Shadowing})
"""Phases in which a challenger is judged beside the champion."""


TOGETHER = timedelta(minutes=2)
"""Crashes of two versions within so long of each other have one cause, which is neither's."""


@dataclass(frozen=True)
class Rollout:
    """What becomes of the versions, which of them have servers, and how far the rollout is."""

    move: Move
    versions: tuple[ServedVersion, ...]
    served: tuple[ServedVersion, ...]
    progress: RolloutStatus | None
    handled: Handled | None = None
    """What came of an order, where one was carried out or declined."""
    quarantine: tuple[Quarantine, ...] = ()
    fallback: FallbackStatus | None = None
    """What is to be said of who answers in the champion's place, or has just ceased to."""
    stand_in: ServedVersion | Constant | None = None
    """Who answers while the champion cannot."""
    silent: bool = False
    """The challenger does not answer either."""

    @property
    def champion(self) -> ServedVersion | None:
        return champion_of(self.versions)

    @property
    def serves(self) -> ServedVersion | Constant | None:
        """Who answers at the stable Service."""
        return self.stand_in or self.champion

    @property
    def weights(self) -> Mapping[str, int]:
        """Percent of the gateway's requests, by version."""
        champion, progress = self.serves, self.progress
        if champion is None:
            return {}
        if progress is None or progress.phase is not RolloutPhase.Shifting:
            return {champion.version: 100}
        weight = 0 if self.silent and self.stand_in is not None else progress.weight
        return {champion.version: 100 - weight, progress.version: weight}


def decide_rollout(world: ChurnModelWorld, now: datetime) -> Rollout:
    seen = _judged(world, now)
    move = _move(world, seen, now)
    versions = versions_after(world, move, now)
    served = tuple(v for v in versions if has_server(world, v, now))
    fallback, rolling = stands_in(world, champion_of(versions), now), rolling_of(versions)
    return Rollout(
        move=move,
        versions=versions,
        served=served,
        progress=progress_after(world, move, seen, now),
        handled=handled(pending(world), move),
        quarantine=quarantine_after(world, move, now),
        fallback=fallback,
        stand_in=None if fallback is None or is_over(fallback, now) else fallback_of(world),
        silent=rolling is not None and not _answers(world, rolling),
    )


def _judged(world: ChurnModelWorld, now: datetime) -> RolloutStatus | None:
    """The rollout as it stands, with what is to be said of it now."""
    progress = world.status.rollout
    if progress is None:
        return None
    if progress.phase in COUNTED:
        progress = based(world, progress)
    if progress.phase is RolloutPhase.Shifting:
        progress = labelled(world, progress, now)
        return progress.model_copy(
            update={"verdict": _verdict(world, progress), "comparison": _comparison(world, progress)}
        )
    if progress.phase is RolloutPhase.Shadowing:
        return shadowed(world, progress, _offline(world, progress), _terms(world), now)
    if progress.phase is RolloutPhase.Guarding and not _is_settling(progress, now):
        progress = labelled(world, progress, now)
        return progress.model_copy(update={"verdict": _breach(world, progress)})
    return progress


def _move(world: ChurnModelWorld, progress: RolloutStatus | None, now: datetime) -> Move:
    rolling, order = rolling_of(world.status.versions), pending(world)
    fails = rolling is not None and _failure(world, rolling, progress) is not None
    if order is not None and (ordered := obey(world, order, progress, fails=fails)) is not None:
        return ordered
    if rolling is not None:
        return _roll(world, rolling, progress, now)
    return _breached(world, progress, now) or _next(world, progress, now)


def _next(world: ChurnModelWorld, progress: RolloutStatus | None, now: datetime) -> Move:
    """An accepted version begins when the guard time of the one before it is over, and the status says so.

    Where that one fails and nobody can take its place, the next is the cure.
    """
    run = accepted(world)
    if run is None or world.spec.suspend:
        return Stay()
    if progress is None or progress.phase is not RolloutPhase.Guarding or _breach_of(world, progress, now):
        return Start(version_of(world, run, now))
    before = guarding(world, now)
    until = "" if before is None else f", at {clock.stamp(guard_ends(world, before))}"
    return Stay(f"{run.status.version} waits until the guard time of {progress.version} is over{until}")


def _paused(world: ChurnModelWorld) -> str | None:
    """What keeps traffic from moving on; a version that fails loses its traffic nevertheless."""
    if world.spec.suspend:
        return "spec.suspend is true"
    return "spec.rollout.paused is true" if world.spec.rollout.paused else None


def _roll(world: ChurnModelWorld, rolling: ServedVersion, progress: RolloutStatus | None, now: datetime) -> Move:
    """The next move of a challenger."""
    if progress is not None and progress.version == rolling.version:
        if progress.phase is RolloutPhase.Shifting:
            return _shift(world, rolling, progress, now)
        if progress.phase is RolloutPhase.Shadowing and world.spec.rollout.strategy == "Shadow":
            return _shadow(world, rolling, progress, now)
    if _answers(world, rolling):
        waits_for = _paused(world)
        return _admit(world, rolling) if waits_for is None else Stay(waits_for)
    server = world.server(rolling.version)
    if server is None or _paused(world) or now < _deadline(world, rolling, server):
        return Stay(_paused(world) or "")
    message = f"{rolling.version} was not ready after {world.spec.rollout.progress_deadline}: {server.heard}"
    return GiveUp(rolling, Violation(Reason.RolledBack, message))


def _deadline(world: ChurnModelWorld, rolling: ServedVersion, server: ServerSeen) -> datetime:
    """Counted from when what can get ready was made (a webhook, a quota or KServe may be missing), and was looked at.

    While the API server is away nothing gets ready, and afterwards another process leads.
    """
    moments = (clock.parse(rolling.since), server.made, world.looking_since)
    return max(filter(None, moments)) + parse_duration(world.spec.rollout.progress_deadline)


def _admit(world: ChurnModelWorld, rolling: ServedVersion) -> Move:
    """It answered as expected: it may have traffic."""
    champion, strategy = champion_of(world.status.versions), world.spec.rollout.strategy
    if strategy == "BlueGreen" or champion is None:
        return Promote(rolling, f"{rolling.version} answered a prediction as expected.")
    if strategy == "Shadow":
        return Replay(rolling, 1)
    if problem := route_problem(world):
        return Stay(problem, Reason.GatewayUnavailable)
    for version in (champion, rolling):
        if not world.counters.get(version.version):
            why = world.unread.get(version.version, "none of its pods is ready")
            return Stay(f"the metrics of {version.version} cannot be read: {why}")
    return Shift(rolling, 1, world.spec.rollout.weights[0])


def _shift(world: ChurnModelWorld, rolling: ServedVersion, progress: RolloutStatus, now: datetime) -> Move:
    """The next move of a challenger that has traffic."""
    if failure := _failure(world, rolling, progress):
        return GiveUp(rolling, failure)
    verdict = progress.verdict
    if waits_for := _paused(world):
        return Stay(waits_for)
    if world.spec.rollout.strategy in ASKED_ONE_BY_ONE:
        return _admit(world, rolling) if _answers(world, rolling) else Stay(_heard(world, rolling))
    if problem := route_problem(world):
        return Stay(problem, Reason.GatewayUnavailable)
    if verdict is None or verdict.result is not TestOutcome.Pass:
        return Stay("the analysis has not passed")
    if world.spec.rollout.strategy == "ABTest":
        return _decided(world, rolling, progress.comparison)
    return _step(world, rolling, progress, verdict, now)


def _step(
    world: ChurnModelWorld, rolling: ServedVersion, progress: RolloutStatus, verdict: Verdict, now: datetime
) -> Move:
    """The next move of a canary that passed its step."""
    steps = world.spec.rollout.steps
    until = clock.parse(progress.since) + parse_duration(steps[min(progress.step, len(steps)) - 1].pause)
    if now < until:
        return Stay(f"the step lasts until {clock.stamp(until)}")
    if progress.step >= len(steps):
        return Promote(rolling, f"{rolling.version} passed every step: {verdict.message}")
    return Shift(rolling, progress.step + 1, steps[progress.step].weight)


def _decided(world: ChurnModelWorld, rolling: ServedVersion, comparison: Comparison | None) -> Move:
    """The next move of a challenger that is no worse, and is to be better; one that is worse was given up."""
    declared = world.spec.rollout.ab_test
    if comparison is None or comparison.declared != declared:
        return Shift(rolling, 1, declared.weight)
    if comparison.winner is Winner.Challenger:
        return Promote(rolling, f"{rolling.version} won the A/B test: {comparison.message}")
    if comparison.seen < declared.sample:
        return Stay("the A/B test has no winner yet")
    message = f"{rolling.version} was not shown to be better, and the sample is spent: {comparison.message}"
    return GiveUp(rolling, Violation(Reason.ABTestUndecided, message))


def _shadow(world: ChurnModelWorld, rolling: ServedVersion, progress: RolloutStatus, now: datetime) -> Move:
    """The next move of a challenger that is asked what clients asked the champion."""
    if failure := _failure(world, rolling, progress):
        return GiveUp(rolling, failure)
    if waits_for := _paused(world):
        return Stay(waits_for)
    verdict, shadow = progress.verdict, progress.shadow
    if verdict is not None and verdict.result is TestOutcome.Pass:
        return Promote(rolling, f"{rolling.version} passed the replay: {verdict.message}")
    if shadow is not None and shadow.retry_at is not None:
        due = now >= clock.parse(shadow.retry_at)
        return Replay(rolling, shadow.attempt + 1) if due else Stay(f"the replay is begun again at {shadow.retry_at}")
    problem = world.replay.problem if isinstance(world.replay, Running) else None
    return Stay("" if problem is None else f"its Job does not run: {problem.message}")


def _failure(world: ChurnModelWorld, rolling: ServedVersion, progress: RolloutStatus | None) -> Violation | None:
    """Why the challenger must lose its traffic at once, or the prospect of any; before it is judged, nothing does.

    Where nobody answers, or the champion crashed as well, the fault is more likely elsewhere: nothing is concluded. A
    crash is evidence of its own: what the process had counted went with it.
    """
    if progress is None or progress.version != rolling.version or progress.phase not in JUDGED:
        return None
    champion = champion_of(world.status.versions)
    if not _answers(world, rolling) and champion is not None and _answers(world, champion):
        return _fallen(rolling, progress, _heard(world, rolling))
    if crashed := _crash(world, progress, rolling, champion):
        return _fallen(rolling, progress, crashed)
    if progress.comparison is not None and progress.comparison.winner is Winner.Champion:
        return Violation(Reason.ABTestLost, f"{rolling.version} lost the A/B test: {progress.comparison.message}")
    if progress.verdict is not None and progress.verdict.result is TestOutcome.Fail:
        return Violation(Reason.AnalysisFailed, f"{rolling.version} failed: {progress.verdict.message}")
    return None


def _fallen(rolling: ServedVersion, progress: RolloutStatus, why: str) -> Violation:
    message = f"{rolling.version} failed with {progress.weight} % of the traffic: {why}"
    return Violation(Reason.ChallengerNotAnswering, message)


def _crash(
    world: ChurnModelWorld, progress: RolloutStatus, version: ServedVersion, other: ServedVersion | None
) -> str | None:
    """How one of its pods crashed since the step began, and none of the other's about then."""
    found = crash(world.pods.get(version.version, ()), clock.parse(progress.since))
    beside = () if other is None else world.pods.get(other.version, ())
    return None if found is None or crash(beside, found.at - TOGETHER) is not None else found.said


def _breached(world: ChurnModelWorld, progress: RolloutStatus | None, now: datetime) -> Restore | None:
    """The new champion does what it must not, and the one before is still warm."""
    before = warm(world, now)
    if progress is None or progress.phase is not RolloutPhase.Guarding or before is None:
        return None
    breach = _breach_of(world, progress, now)
    return None if breach is None else Restore(before, breach)


def _breach_of(world: ChurnModelWorld, progress: RolloutStatus, now: datetime) -> Violation | None:
    """Why the new champion must not keep the traffic, where another can have it."""
    champion = champion_of(world.status.versions)
    if champion is None:
        return None
    said = f"{champion.version} failed in its guard time"
    if progress.verdict is not None and progress.verdict.result is TestOutcome.Fail:
        return Violation(Reason.AnalysisFailed, f"{said}: {progress.verdict.message}")
    server = world.server(champion.version)
    is_silent = server is not None and not server.answers and not _is_settling(progress, now)
    why = _crash(world, progress, champion, guarding(world, now)) or (_heard(world, champion) if is_silent else None)
    return None if why is None else Violation(Reason.ChampionNotAnswering, f"{said}: {why}")


def _answers(world: ChurnModelWorld, version: ServedVersion) -> bool:
    server = world.server(version.version)
    return server is not None and server.answers


def _heard(world: ChurnModelWorld, version: ServedVersion) -> str:
    server = world.server(version.version)
    return "its InferenceService was not made" if server is None else server.heard


def route_problem(world: ChurnModelWorld) -> str | None:
    """Why the gateway does not split as it was asked to."""
    if world.route is None:
        return world.gateway_problem or "the HTTPRoute is being made"
    return world.gateway_problem or world.route.problem


def _is_settling(progress: RolloutStatus, now: datetime) -> bool:
    return abs(now - clock.parse(progress.since)) < SETTLING


def _verdict(world: ChurnModelWorld, progress: RolloutStatus) -> Verdict:
    """The challenger beside the champion, since the step began."""
    champion, challenger = _counted(world, progress)
    verdict = judge(champion, challenger, _offline(world, progress), _terms(world), unread(progress.labels))
    return _with_why(world, verdict)


def _comparison(world: ChurnModelWorld, progress: RolloutStatus) -> Comparison | None:
    """The A/B test with what is to be said of it now; as it was where somebody does not say what was counted."""
    last = progress.comparison
    if last is None or world.spec.rollout.strategy != "ABTest":
        return None
    champion, challenger = _counted(world, progress)
    if champion is None or challenger is None:
        return last
    return compare(last.declared, champion, challenger, _terms(world))


def _counted(world: ChurnModelWorld, progress: RolloutStatus) -> tuple[Counts | None, Counts | None]:
    """What champion and challenger counted since the step began."""
    champion = champion_of(world.status.versions)
    theirs = None if champion is None else _known(world, progress, champion.version)
    return theirs, _known(world, progress, progress.version)


def _known(world: ChurnModelWorld, progress: RolloutStatus, version: str) -> Counts | None:
    counts = world.counted(version)
    return None if counts is None else known_of(counts, progress.labels, version)


def _breach(world: ChurnModelWorld, progress: RolloutStatus) -> Verdict:
    """The new champion beside what is promised and what the old one showed."""
    before, labels = progress.before, progress.labels
    theirs = None if before is None else known_of(_former(world, before), labels, before.pod)
    own, offline = _known(world, progress, progress.version), _offline(world, progress)
    return _with_why(world, breach(own, theirs, world.spec.serving.slo, offline, _terms(world), unread(labels)))


def _former(world: ChurnModelWorld, before: Counters) -> Counts:
    """What the old champion showed; how slow it was by a promise that was made since, nobody knows."""
    return replace(as_counts(before), timed=world.is_timed(before))


def _with_why(world: ChurnModelWorld, verdict: Verdict) -> Verdict:
    """What could not be read, and why."""
    if verdict.result is not TestOutcome.Error:
        return verdict
    said = " ".join((verdict.message, *(f"{version}: {why}." for version, why in world.unread.items())))
    return verdict.model_copy(update={"message": said[:1024]})


def _offline(world: ChurnModelWorld, progress: RolloutStatus) -> tuple[int, ...] | None:
    return next((v.scores for v in world.status.versions if v.version == progress.version), None)


def _terms(world: ChurnModelWorld) -> Terms:
    rollout = world.spec.rollout
    before_guard = {"BlueGreen": 0, "Canary": len(rollout.steps), "Shadow": 1, "ABTest": 2}
    stages = before_guard[rollout.strategy] + 1
    return Terms(rollout.analysis, stages, wanted(world), gateway=splits(world.spec))
