"""What a ChurnModel's status says."""

from datetime import datetime

from churn_operator.api.analysis import TestOutcome
from churn_operator.api.churnmodel import (
    BACKENDS,
    ChurnModelStatus,
    DataState,
    FallbackStatus,
    ModelLinks,
    ModelSummary,
    ServedVersion,
    TrafficShare,
    VersionState,
)
from churn_operator.api.churnmodel import Retraining as RetrainingStatus
from churn_operator.api.reasons import Reason
from churn_operator.api.rollout import Comparison, RolloutPhase, RolloutStatus
from churn_operator.api.trainingrun import RunPhase
from churn_operator.churnmodel.decide import Content, Decision, Held, Open
from churn_operator.churnmodel.fallback import SETTLING, fallback_of
from churn_operator.churnmodel.moves import Decline, GiveUp, Promote, Replay, Restore, Return, Shift, Start, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld, RunSeen, ServerSeen
from churn_operator.churnmodel.policies import outdated, probed
from churn_operator.churnmodel.rollout import route_problem
from churn_operator.churnmodel.versions import rolling_of
from churn_operator.core import clock
from churn_operator.core.conditions import Judgement, conditions
from churn_operator.core.job import Running
from churn_operator.core.objects import Violation


def report(world: ChurnModelWorld, decision: Decision, problem: Violation | None, now: datetime) -> ChurnModelStatus:
    generation = world.object["metadata"].get("generation", 0)
    ready = _ready(world, decision, problem, now)
    judgements = (
        ready,
        _trained(world, decision, problem),
        _rollout_healthy(world, decision, problem, now),
        _within_drift_limits(world, decision),
    )
    traffic = _traffic(world)
    return ChurnModelStatus(
        observed_generation=generation,
        phase=_phase(world, decision, ready),
        conditions=conditions(world.status.conditions, judgements, generation, now),
        versions=decision.rollout.versions,
        quarantine=decision.rollout.quarantine,
        traffic=traffic,
        rollout=decision.rollout.progress,
        handled=decision.rollout.handled or world.status.handled,
        fallback=decision.rollout.fallback,
        last_run=_last_run(world, decision, problem),
        alias=_alias(world),
        data=_data(world, now),
        retraining=_retraining(decision),
        summary=_summary(world, decision, traffic),
        links=_links(world, decision.rollout.champion),
    )


def story(decision: Decision) -> tuple[Judgement, ...]:
    """The moves that no condition tells: step by step, its reason stays the same. Each is news of its own."""
    match decision.rollout.move:
        case Shift(version, step, weight):
            message = f"{version.version} gets {weight} % of the traffic (step {step})."
            return (Judgement(f"{version.version}/{step}", None, Reason.Shifting, message),)
        case Replay(version, attempt):
            message = f"{version.version} is asked what clients asked the champion (attempt {attempt})."
            return (Judgement(f"{version.version}/shadow/{attempt}", None, Reason.Shadowing, message),)
        case Promote(version, why):
            message = f"{version.version} is champion: {why}"
            return (Judgement(version.version, holds=True, reason=Reason.Promoted, message=message),)
        case GiveUp(version, violation):
            return (_back(version, "gets no traffic any more", violation),)
        case Restore(version, violation):
            return (_back(version, "is champion again", violation),)
        case Return(version, violation):
            return (_back(version, "is called back", violation),)
        case Decline(why):
            return (Judgement("Order", holds=False, reason=Reason.OrderDeclined, message=f"Nothing was done: {why}."),)
        case Start() | Stay():
            return ()


def _back(version: ServedVersion, what: str, violation: Violation) -> Judgement:
    message = f"{version.version} {what}: {violation.message}"
    return Judgement(version.version, holds=False, reason=violation.reason, message=message)


def _last_run(world: ChurnModelWorld, decision: Decision, problem: Violation | None) -> int:
    """Of the run that was just opened, too: what the next look will say, so that it has nothing to write."""
    opened = decision.retraining.number if isinstance(decision.retraining, Open) and problem is None else 0
    return max([opened, world.taken, world.status.last_run, *(run.number for run in world.runs)])


def _ready(world: ChurnModelWorld, decision: Decision, problem: Violation | None, now: datetime) -> Judgement:
    """The champion answers, whatever a challenger does."""
    champion = decision.rollout.champion
    if world.kserve_missing:
        return _not_ready(
            Reason.KServeMissing,
            "The cluster has no InferenceService kind: install KServe 0.20 or newer. Training goes on meanwhile.",
        )
    if champion is None:
        return _no_champion(world, decision, problem)
    server = world.server(champion.version)
    if problem is not None and problem.reason == Reason.TrackingUnavailable:
        problem = None  # serving needs no MLflow
    stood_in = decision.rollout.fallback
    if stood_in is not None and decision.rollout.stand_in is not None:
        return _not_ready(Reason.FallbackServing, _replaced(champion, server, stood_in))
    if world.target != champion.version or _settling(world, decision, server, now):
        if problem is not None:
            return _not_ready(problem.reason, problem.message)
        return _switching(world, champion, now)
    if server is None or server.answer is None or not server.answer.ok:
        message = f"{champion.version} does not answer a prediction: {_heard(server)}"
        return _not_ready(Reason.ChampionNotAnswering, message)
    return Judgement(
        "Ready",
        holds=True,
        reason=Reason.ChampionServing,
        message=f"{champion.version} answers as expected at {_endpoint(world)}.{_unprotected(world)}",
    )


def _heard(server: ServerSeen | None) -> str:
    return "it has no InferenceService" if server is None else server.heard


def _replaced(champion: ServedVersion, server: ServerSeen | None, stood_in: FallbackStatus) -> str:
    if stood_in.recovered is None:
        return f"{champion.version} does not answer: {_heard(server)}; {stood_in.version} answers in its place."
    return (
        f"{champion.version} answers again since {stood_in.recovered}; until it has for {SETTLING.seconds} s "
        f"{stood_in.version} answers in its place."
    )


def _unprotected(world: ChurnModelWorld) -> str:
    """A fallback that would not answer is told before it is needed."""
    fallback, wanted = fallback_of(world), world.spec.serving.fallback
    if fallback is None:
        return "" if wanted is None else f" Nobody stands in for it: {_unfit(world, str(wanted.version))}."
    server = world.server(fallback.version)
    if server is not None and server.answers:
        return ""
    return f" Its stand-in {fallback.version} does not: {_heard(server)}."


def _unfit(world: ChurnModelWorld, version: str) -> str:
    """Why the version that is to stand in cannot."""
    known = next((v for v in world.status.versions if v.version == version), None)
    if known is None:
        return f"spec.serving.fallback.version {version} is none of status.versions"
    if known.state is VersionState.Champion:
        return f"spec.serving.fallback.version {version} is the champion itself"
    return f"spec.serving.fallback.version {version} is {known.state}, and only one that is Retired stands in"


def _settling(world: ChurnModelWorld, decision: Decision, server: ServerSeen | None, now: datetime) -> bool:
    """It just got its clients, and the Service does not yet lead to it everywhere: no reason to call it silent."""
    champion = decision.rollout.champion
    answers = server is not None and server.answer is not None and server.answer.ok
    last = world.status.condition("Ready")
    is_known_silent = last is not None and last.reason == Reason.ChampionNotAnswering
    is_new = decision.rollout.fallback is not None or (champion is not None and _is_young(champion, now))
    return not answers and not is_known_silent and is_new


def _switching(world: ChurnModelWorld, champion: ServedVersion, now: datetime) -> Judgement:
    """Until the Service leads to the new champion everywhere, the one before answers, if there was one."""
    last = world.status.condition("Ready")
    was_ready = last is not None and last.status == "True"
    message = f"The Service is being pointed at {champion.version}"
    if was_ready and _is_young(champion, now):
        return Judgement(
            "Ready",
            holds=True,
            reason=Reason.ChampionServing,
            message=f"{message}; the version before answers meanwhile.",
        )
    return _not_ready(Reason.RollingOut, f"{message}.")


def _is_young(champion: ServedVersion, now: datetime) -> bool:
    return abs(now - clock.parse(champion.since)) < SETTLING


def _no_champion(world: ChurnModelWorld, decision: Decision, problem: Violation | None) -> Judgement:
    rolling = _rolling(decision)
    if problem is not None:
        return _not_ready(problem.reason, problem.message)
    if rolling is not None:
        server = world.server(rolling.version)
        heard = server.message if server is not None else "its InferenceService is being made"
        return _not_ready(Reason.RollingOut, f"{rolling.version} is starting: {heard}.")
    return _not_ready(Reason.NoChampion, "No version has been accepted yet.")


def _not_ready(reason: str, message: str) -> Judgement:
    return Judgement("Ready", holds=False, reason=reason, message=message)


def _trained(world: ChurnModelWorld, decision: Decision, problem: Violation | None) -> Judgement:
    """What the last run came to."""
    if isinstance(decision.retraining, Open):
        opened = decision.retraining
        verdict = _under_way(opened.wish.reason) if problem is None else f"is to be opened: {opened.wish.reason}"
        message = f"TrainingRun {world.name}-{opened.number} ({opened.wish.trigger}) {verdict}"
        return Judgement("Trained", None, Reason.TrainingInProgress, message)
    if not world.runs:
        hold = decision.retraining
        if isinstance(hold, Held):
            return Judgement("Trained", None, hold.violation.reason, f"No run was opened: {hold.violation.message}")
        return Judgement("Trained", None, Reason.Waiting, "No run was opened.")
    run = world.runs[-1]
    holds, reason, verdict = _verdict(world, run)
    message = f"TrainingRun {run.name} ({run.spec.trigger}) {verdict}"
    if world.tracking_problem is not None:
        holds, reason = None, Reason.TrackingUnavailable
        message = f"{world.tracking_problem}; no run can start. {message}"
    elif isinstance(decision.retraining, Held):
        held = decision.retraining
        message += f" Another run ({held.wish.trigger}) waits: {held.violation.message}"
    waiting = next((r for r in world.runs if r.awaits_approval and r is not run), None)
    if waiting is not None:
        message += f" TrainingRun {waiting.name} {_verdict(world, waiting)[2]}"
    return Judgement("Trained", holds, reason, message)


def _verdict(world: ChurnModelWorld, run: RunSeen) -> tuple[bool | None, Reason, str]:
    said = {condition.type: condition.message for condition in run.status.conditions}
    match run.status.phase:
        case RunPhase.Accepted if (why := outdated(world, run)) is not None:
            return False, Reason.RunNotApproved, f"was accepted, and is not served: {why}"
        case RunPhase.Accepted:
            return True, Reason.RunAccepted, f"was accepted: {said.get('GatesPassed', '')}"
        case RunPhase.AwaitingApproval:
            return None, Reason.AwaitingApproval, f"awaits approval: {said.get('Approved', '')}"
        case RunPhase.Expired | RunPhase.Superseded:
            return False, Reason.RunNotApproved, f"was not approved: {said.get('Approved', '')}"
        case RunPhase.Rejected if run.status.reason == Reason.Rejected:
            return False, Reason.RunNotApproved, f"was not approved: {said.get('Approved', '')}"
        case RunPhase.Rejected:
            return False, Reason.RunRejected, f"was rejected: {said.get('GatesPassed', '')}"
        case RunPhase.Failed:
            return False, Reason.RunFailed, f"failed: {said.get('Succeeded', '')}"
        case _:
            return None, Reason.TrainingInProgress, _under_way(run.spec.reason)


def _under_way(reason: str) -> str:
    return f"is under way: {reason}" if reason else "is under way."


def _traffic(world: ChurnModelWorld) -> tuple[TrafficShare, ...]:
    """Where requests go, as it was read back from a route that every Gateway took; until it did, as it was before.

    Beside it what the pods counted in this step. What somebody else wrote there may be no percent.
    """
    if world.spec.serving.gateway is None or world.route is None:
        return () if world.target is None else (TrafficShare(version=world.target, percent=100),)
    if world.route.problem is not None:
        return world.status.traffic
    weights = dict(list(world.route.weights.items())[:BACKENDS])
    sent = sum(weights.values())
    counted = {version: counts.requests for version in weights if (counts := world.counted(version))}
    total = sum(counted.values()) if is_shifting(world.status.rollout) else 0
    return tuple(
        TrafficShare(
            version=version,
            percent=round(100 * weight / sent) if sent else 0,
            counted=round(100 * counted[version] / total) if total and version in counted else None,
        )
        for version, weight in weights.items()
    )


def is_shifting(progress: RolloutStatus | None) -> bool:
    return progress is not None and progress.phase is RolloutPhase.Shifting


def _rollout_healthy(world: ChurnModelWorld, decision: Decision, problem: Violation | None, now: datetime) -> Judgement:
    rolling, versions, progress = _rolling(decision), decision.rollout.versions, decision.rollout.progress
    if problem is not None and problem.reason != Reason.TrackingUnavailable:
        return Judgement("RolloutHealthy", holds=False, reason=problem.reason, message=problem.message)
    away = progress is not None and _gateway_away(progress, now)
    if progress is not None and is_shifting(progress):
        shifting = Reason.GatewayUnavailable if away else _shifting_reason(progress)
        return Judgement("RolloutHealthy", None, shifting, _shifting(world, progress))
    if progress is not None and progress.phase is RolloutPhase.Shadowing:
        return _shadowing(world, progress)
    if rolling is not None:
        waits = f" It waits: {progress.message}." if progress is not None and progress.message else ""
        message = f"{rolling.version} is starting; no traffic yet.{waits}"
        return Judgement("RolloutHealthy", None, Reason.GatewayUnavailable if away else Reason.RollingOut, message)
    if not versions:
        return Judgement("RolloutHealthy", None, Reason.NothingToRollOut, "No version has been accepted yet.")
    newest = versions[0]
    if newest.state in (VersionState.RolledBack, VersionState.Quarantined):
        ended = progress if progress is not None and progress.phase is RolloutPhase.RolledBack else None
        reason, message = (Reason.RolledBack, newest.reason) if ended is None else (ended.reason, ended.message)
        return Judgement("RolloutHealthy", holds=False, reason=reason or Reason.RolledBack, message=message)
    serves = decision.rollout.champion or newest
    trouble = None if world.spec.serving.gateway is None or _is_young(serves, now) else route_problem(world)
    if trouble is not None:
        message = f"{serves.version} has all of the traffic, but clients of the gateway may not reach it: {trouble}."
        return Judgement("RolloutHealthy", holds=False, reason=Reason.GatewayUnavailable, message=message)
    unjudged = progress is not None and progress.reason == Reason.GuardNotJudged
    return Judgement(
        "RolloutHealthy",
        holds=True,
        reason=Reason.GuardNotJudged if unjudged else Reason.RolloutComplete,
        message=f"Traffic is on {serves.version} since {serves.since}.{_next(progress)}",
    )


def _gateway_away(progress: RolloutStatus, now: datetime) -> bool:
    """What it waits for; a Gateway takes a moment to take up a new step."""
    return progress.reason == Reason.GatewayUnavailable and abs(now - clock.parse(progress.since)) >= SETTLING


def _next(progress: RolloutStatus | None) -> str:
    """What comes after and waits, or what is left to say of how it ended."""
    return f" {progress.message.rstrip('.')}." if progress is not None and progress.message else ""


def _shadowing(world: ChurnModelWorld, progress: RolloutStatus) -> Judgement:
    """A replay that came to no verdict says why; until then it is under way."""
    shadow, running = progress.shadow, world.replay
    problem = running.problem if isinstance(running, Running) else None
    reason = (problem and problem.reason) or (shadow and shadow.reason) or Reason.Shadowing
    attempt = f" (attempt {shadow.attempt}, since {shadow.since})" if shadow is not None else ""
    verdict = "" if progress.verdict is None else f" {progress.verdict.result}: {progress.verdict.message}"
    waits = f" It goes no further yet: {progress.message}." if progress.message else ""
    message = (
        f"{progress.version} is asked what clients asked the champion, and has no traffic{attempt}.{verdict}{waits}"
    )
    return Judgement("RolloutHealthy", None, reason, message)


def _shifting_reason(progress: RolloutStatus) -> Reason:
    is_blind = progress.verdict is not None and progress.verdict.result is TestOutcome.Error
    return Reason.AnalysisUnavailable if is_blind else Reason.Shifting


def _shifting(world: ChurnModelWorld, progress: RolloutStatus) -> str:
    verdict = "" if progress.verdict is None else f" {progress.verdict.result}: {progress.verdict.message}"
    waits = f" It goes no further yet: {progress.message}." if progress.message else ""
    return (
        f"Step {progress.step} of {len(world.spec.rollout.weights)}: {progress.version} is to have {progress.weight} % "
        f"of the traffic since {progress.since}.{_compared(progress.comparison)}{verdict}{waits}"
    )


def _compared(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    return f" A/B test of {comparison.declared.metric} {comparison.winner}: {comparison.message}"


def _within_drift_limits(world: ChurnModelWorld, decision: Decision) -> Judgement:
    """What the monitors say of the champion; the one with bad news speaks."""
    champion = decision.rollout.champion
    if not world.monitors:
        return Judgement("WithinDriftLimits", None, Reason.NotMonitored, "No DriftMonitor looks at this model.")
    said = [
        (monitor.name, condition)
        for monitor in world.monitors
        if champion is not None and monitor.status.version == champion.version
        for condition in monitor.status.conditions
        if condition.type == "WithinDriftLimits"
    ]
    if not said:
        return Judgement("WithinDriftLimits", None, Reason.NoWindow, "No window was compared with this champion yet.")
    name, worst = min(said, key=lambda pair: ("False", "Unknown", "True").index(pair[1].status))
    holds = {"True": True, "False": False}.get(worst.status)
    waits = ""
    if isinstance(decision.retraining, Held) and decision.retraining.wish.trigger == "Drift":
        waits = f" Retraining waits: {decision.retraining.violation.message}"
    return Judgement("WithinDriftLimits", holds, worst.reason, f"DriftMonitor {name}: {worst.message}{waits}")


def _phase(world: ChurnModelWorld, decision: Decision, ready: Judgement) -> str:
    """One word for the list; the conditions say more."""
    if decision.rollout.stand_in is not None:
        return "Degraded"
    if world.spec.suspend:
        return "Suspended"
    if _rolling(decision) is not None:
        return "RollingOut"
    if isinstance(decision.retraining, Open) or any(not run.is_measured for run in world.runs):
        return "Training"
    if decision.rollout.champion is None and any(run.awaits_approval for run in world.runs):
        return "AwaitingApproval"
    if decision.rollout.champion is None:
        return "Failed" if world.runs and world.runs[-1].status.phase is not RunPhase.Accepted else "Pending"
    return "Serving" if ready.holds else "Degraded"


def _alias(world: ChurnModelWorld) -> str | None:
    """Where the alias was last seen to belong; nobody else's move is taken for that."""
    if not world.spec.registry.follow:
        return None
    belongs = world.champion is not None and world.alias == world.champion.registry_version
    return world.alias if belongs else world.status.alias


def _data(world: ChurnModelWorld, now: datetime) -> DataState | None:
    """The state that the last probe found, and when it was first found."""
    revision, last = probed(world), world.status.data
    if revision is None or (last is not None and last.revision == revision):
        return last
    return DataState(revision=revision, since=clock.stamp(now))


def _retraining(decision: Decision) -> RetrainingStatus | None:
    match decision.retraining:
        case Held(wish, violation):
            return RetrainingStatus(trigger=wish.trigger, held_by=violation.reason, message=violation.message[:1024])
        case Open() | Content():
            return None


def _summary(world: ChurnModelWorld, decision: Decision, traffic: tuple[TrafficShare, ...]) -> ModelSummary:
    champion = decision.rollout.champion
    shares = [monitor.status.share for monitor in world.monitors if monitor.status.share is not None]
    return ModelSummary(
        champion=champion.version if champion else None,
        traffic=", ".join(f"{share.version}={share.percent}%" for share in traffic) or None,
        rollout=_in_words(world, decision.rollout.progress),
        metric=champion.metric if champion else None,
        drift=max(shares, default=None),
    )


def _in_words(world: ChurnModelWorld, progress: RolloutStatus | None) -> str | None:
    """The challenger, how far it is or why it ended, and the last verdict; nothing of what has all of the traffic."""
    if progress is None or progress.phase is RolloutPhase.Complete:
        return None
    if progress.phase is RolloutPhase.RolledBack:
        return f"{progress.version} {progress.reason or progress.phase}"
    step = f"{progress.step}/{len(world.spec.rollout.weights)}"
    far = step if progress.phase is RolloutPhase.Shifting else progress.phase
    return f"{progress.version} {far}" + (f" {progress.verdict.result}" if progress.verdict is not None else "")


def _links(world: ChurnModelWorld, champion: ServedVersion | None) -> ModelLinks:
    ui = world.settings.tracking_ui or world.settings.tracking_uri
    return ModelLinks(
        endpoint=_endpoint(world) if champion else None,
        registered_model=f"{ui}/#/models/{world.namespace}.{world.name}",
    )


def _endpoint(world: ChurnModelWorld) -> str:
    return f"http://{world.name}.{world.namespace}.svc/v1/models/{world.name}:predict"


def _rolling(decision: Decision) -> ServedVersion | None:
    return rolling_of(decision.rollout.versions)
