"""What is known of a model, as a tree. Pure: `now` is an argument, and what clients or users wrote is no markup."""

from collections.abc import Iterable
from datetime import datetime

from rich.text import Text
from rich.tree import Tree

from churn_operator.api.analysis import Sample, TestName, TestResult, Verdict
from churn_operator.api.approval import Command, Handled
from churn_operator.api.base import Condition
from churn_operator.api.rollout import Comparison, LabelsStatus, RolloutPhase
from churn_operator.api.tasks import ComparisonResult, ShadowResult
from churn_operator.cli import moment
from churn_operator.cli.summary import Drift, Rollout, Run, Summary, Traffic, Version

GOOD, BAD, OPEN, QUIET = "green", "red", "yellow", "dim"
STYLES = {
    **dict.fromkeys(("True", "Champion", "Accepted", "Passed", "Pass", "Complete"), GOOD),
    **dict.fromkeys(("False", "RolledBack", "Quarantined", "Rejected", "Failed", "Fail", "Error", "Expired"), BAD),
    **dict.fromkeys(("Unknown", "AwaitingApproval", "RollingOut", "Starting", "Shifting", "Guarding"), OPEN),
    **dict.fromkeys(("Pending", "Running", "Evaluating", "Inconclusive", "Shadowing", "Undecided"), OPEN),
}
EVENTS = {
    TestName.ErrorRate: ("failed", "requests"),
    TestName.Latency: ("too slow", "answers"),
    TestName.Decisions: ("changed", "decisions"),
    TestName.Quality: ("wrong", "decisions"),
}
"""What is counted in each test, of what."""


def plain(text: str) -> str:
    """One line, and nothing that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def line(*parts: str | None) -> Text:
    """Words, of which those that say how something stands have a colour of their own."""
    said = [plain(part) for part in parts if part]
    return Text(" ").join(Text(part, STYLES.get(part.rstrip(":,;"), "")) for part in said)


def tree(model: Summary, now: datetime) -> Tree:
    root = Tree(_head(model))
    for condition in model.conditions:
        root.add(_condition(condition, is_told=_is_told(condition, model)))
    if model.endpoint:
        root.add(line("Endpoint", model.endpoint))
    for branch in (
        *(_offer(run, model.namespace, now) for run in model.approvals),
        _branch("Versions", (_version(version, now) for version in model.versions)),
        _branch("Traffic", (_traffic(share) for share in model.traffic)),
        None if model.rollout is None else _rollout(model.rollout, model.champion, now),
        _branch("Runs", (_run(run, now) for run in model.runs)),
        _branch("Drift", (_drift(drift, now) for drift in model.drift)),
        _order(model.command, model.handled),
    ):
        if branch is not None:
            root.add(branch)
    if model.retraining is not None:
        waits = model.retraining
        root.add(line("Retraining", f"({waits.trigger}) is wanted and waits, {waits.held_by}: {waits.message}"))
    return root


def _condition(condition: Condition, *, is_told: bool) -> Text:
    message = "" if is_told else f": {condition.message}"
    return line(condition.type, "is", f"{condition.status},", f"{condition.reason}{message}")


def _is_told(condition: Condition, model: Summary) -> bool:
    """A branch says the same at greater length."""
    if condition.type == "WithinDriftLimits":
        return bool(model.drift)
    if condition.type == "RolloutHealthy":
        return model.rollout is not None and model.rollout.phase is RolloutPhase.Shifting
    return condition.type == "Trained" and condition.status == "True" and bool(model.runs)


def _head(model: Summary) -> Text:
    ready = model.condition("Ready")
    is_behind = model.observed_generation < model.generation
    return line(
        f"ChurnModel {model.namespace}/{model.name}:",
        f"{model.phase},",
        "Ready",
        ready.status if ready else "-",
        "(the operator has not looked at the latest spec yet)" if is_behind else None,
        "(spec.suspend is true)" if model.suspended else None,
    )


def _branch(title: str, leaves: Iterable[Text | Tree]) -> Tree | None:
    branch = Tree(Text(title))
    for leaf in leaves:
        branch.add(leaf)
    return branch if branch.children else None


def _version(version: Version, now: datetime) -> Text:
    when = f"{moment.since(version.since, now)}, {version.metric}, from {version.run}: {version.reason}"
    return line(f"{version.version}:", version.state, when)


def _traffic(share: Traffic) -> Text:
    read_back = "not read back" if share.read_back is None else f"read back {share.read_back} %"
    counted = "" if share.counted is None else f", counted {share.counted} %"
    return line(f"{share.version}:", f"asked {share.asked} %, {read_back}{counted}")


def _rollout(rollout: Rollout, champion: str | None, now: datetime) -> Tree:
    step = f"step {rollout.step} of {rollout.steps}, {rollout.weight} % of the traffic," if rollout.steps else None
    since = moment.since(rollout.since, now)
    branch = Tree(line(f"Rollout of {rollout.version} ({rollout.strategy}):", f"{rollout.phase},", step, since))
    if rollout.guard_until:
        branch.add(line("The version before stays warm", moment.until(rollout.guard_until, now)))
    if rollout.paused:
        branch.add(line("spec.rollout.paused is true: traffic stays where it is"))
    if rollout.message:
        ended = rollout.phase in {RolloutPhase.RolledBack, RolloutPhase.Complete}
        branch.add(line("Because:" if ended else "Goes no further yet:", rollout.message))
    beside = (champion if champion != rollout.version else "the champion before") or "the champion"
    if rollout.comparison is not None:
        branch.add(_compared(rollout.comparison, rollout.version, beside))
    if rollout.replay is not None:
        branch.add(_replayed(rollout.replay))
    if rollout.verdict is not None:
        branch.add(_verdict(rollout.verdict, rollout.version, beside))
    if rollout.labels is not None:
        branch.add(_labels(rollout.labels, now))
    return branch


def _labels(labels: LabelsStatus, now: datetime) -> Tree:
    """When they were last looked for, and what is known by now."""
    looked = f"last looked for {_ago(labels.ended, now)}" if labels.ended else "not looked for yet"
    branch = Tree(line("Labels of what was asked", f"{moment.since(labels.since, now)}:", looked))
    if labels.reason:
        branch.add(line(f"{labels.reason}: {labels.message}"))
    for one in () if labels.result is None else (labels.result.challenger, labels.result.champion):
        known = f"{one.labelled} of {one.customers} customers have one, {one.wrong} of these decisions were wrong"
        branch.add(line(f"{one.version}: {known}"))
    return branch


def _compared(seen: Comparison, version: str, champion: str) -> Tree:
    """An A/B test: who won, the counts of both, and between which bounds the difference surely lies."""
    declared, metric = seen.declared, TestName(seen.declared.metric)
    branch = Tree(line(f"A/B test of {metric}", f"{seen.winner}:", seen.message))
    branch.add(line(f"{version}: {_sample(seen.challenger, metric)}; {champion}: {_sample(seen.reference, metric)}"))
    estimate = "" if seen.estimate is None else f"difference {_percent(seen.estimate)}, "
    spent = f"{seen.seen} of at most {declared.sample} {'labels' if metric is TestName.Quality else 'requests'}"
    branch.add(line(f"{estimate}surely between {_percent(seen.lower)} and {_percent(seen.upper)}; {spent}"))
    return branch


def _replayed(seen: ShadowResult) -> Tree:
    """What a Shadow's challenger answered to the champion's requests."""
    branch = Tree(line(f"Replay: {seen.requests} of {seen.logged} logged requests,", _failures(seen)))
    if seen.agreement is not None:
        changed = f"{seen.changed} of {seen.compared} changed"
        branch.add(line(f"{_percent(seen.agreement)} of the decisions are the champion's ({changed})"))
    apart = (
        None if seen.correlation is None else f"rank correlation {seen.correlation:.3f}",
        None if seen.difference is None else f"mean difference {seen.difference:.4f}",
    )
    if any(apart):
        branch.add(line("probabilities:", ", ".join(part for part in apart if part)))
    if seen.hidden:
        branch.add(line(f"sent empty, because the log holds no values of them: {', '.join(seen.hidden)}"))
    if seen.latency is not None:
        branch.add(
            line(f"latency p50 {seen.latency.p50:g} ms, p95 {seen.latency.p95:g} ms, p99 {seen.latency.p99:g} ms")
        )
    return branch


def _failures(seen: ShadowResult) -> str:
    problem = f" (the first: {seen.problem})" if seen.problem else ""
    return f"{seen.errors} failed{problem}, {seen.slow} too slow"


def _verdict(verdict: Verdict, version: str, champion: str) -> Tree:
    """Each metric with its counts, what was estimated, between which bounds it surely lies, and the evidence."""
    branch = Tree(line("Analysis", f"{verdict.result}:", verdict.message))
    for test in verdict.tests:
        branch.add(_test(test, version, champion))
    return branch


def _test(test: TestResult, version: str, champion: str) -> Tree:
    branch = Tree(line(test.name, f"{test.result}:", test.message))
    is_scores = test.name is TestName.Scores
    counts = [f"{version}: {_sample(test.challenger, test.name)}"]
    if test.reference is not None:
        counts.append(f"{'held-out rows' if is_scores else champion}: {_sample(test.reference, test.name)}")
    branch.add(line("; ".join(counts)))
    number = _distance if is_scores else _percent
    what = "distance" if is_scores else "difference" if test.reference is not None else "share"
    estimate = f"{what} {number(test.estimate)}, " if test.estimate is not None else ""
    evidence = ""
    if test.evidence is not None:
        needed = "" if test.needed is None else f" of the {test.needed:.2f} that it takes to fail"
        evidence = f"; evidence {test.evidence:.2f}{needed}"
    between = f"surely between {number(test.lower)} and {number(test.upper)}"
    branch.add(line(f"{estimate}{between}; at most {number(test.bound)} is no failure{evidence}"))
    return branch


def _sample(sample: Sample, name: TestName) -> str:
    if name is TestName.Scores:
        mean = "" if sample.estimate is None else f", mean {sample.estimate:.3f}"
        return f"{sample.size} probabilities{mean}"
    befell, what = EVENTS[name]
    share = "" if sample.estimate is None else f" ({_percent(sample.estimate)})"
    return f"{sample.events or 0} {befell} of {sample.size} {what}{share}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _distance(value: float) -> str:
    return f"{value:.3f}"


def _run(run: Run, now: datetime) -> Tree:
    at = f"{run.step} {run.percent} %" if run.step and not run.finished_at and run.percent != 100 else None
    became = f"became {run.version}" if run.version else None
    metric = f"metric {run.metric}" if run.metric else None
    when = f"finished {_ago(run.finished_at, now)}" if run.finished_at else None
    said = ", ".join(part for part in (run.reason, at, metric, became, when) if part)
    branch = Tree(line(f"{run.name}:", run.phase, f"({said})" if said else None))
    by = f" by {run.requested_by}" if run.requested_by else ""
    branch.add(line(f"{run.trigger}{by}:", run.why or "no reason was given"))
    if not run.gates and (failed := _stands_in_the_way(run)):
        branch.add(line(failed))
    for gate in run.gates:
        branch.add(line("gate", gate.name, f"{gate.verdict}:", gate.message))
    if run.approval is not None:
        given = run.approval
        branch.add(line(given.decision, f"by {given.by} at {given.at}", given.comment and f"({given.comment})"))
    elif not run.awaits_approval and (said_of := run.said("Approved")) and run.reason in {"Expired", "Superseded"}:
        branch.add(line(said_of))
    if run.mlflow:
        branch.add(line(run.mlflow))
    return branch


def _stands_in_the_way(run: Run) -> str | None:
    return next((c.message for c in run.conditions if c.type == "Succeeded" and c.status != "True"), None)


def _ago(text: str, now: datetime) -> str:
    return f"{text} ({moment.span(now - moment.parse(text))} ago)"


def _offer(run: Run, namespace: str, now: datetime) -> Tree:
    since = moment.since(run.awaiting_since, now) if run.awaiting_since else None
    expires = moment.until(run.awaiting_until, now) if run.awaiting_until else None
    branch = Tree(line("Approval:", run.name, "waits for a person", since, expires))
    branch.add(line(f"evidence {run.evidence_digest}"))
    if run.requested_by:
        branch.add(line(f"not {run.requested_by}, who asked for the run"))
    if run.approval is not None and run.approval.evidence_digest == run.evidence_digest:
        branch.add(line(f"{run.approval.decision} by {run.approval.by}; the operator has not ended the waiting yet"))
        branch.add(line("it says:", run.said("Approved") or "nothing"))
    else:
        branch.add(line(f"kubectl churn approve {run.name} -n {namespace}"))
    return branch


def evidence_tree(run: Run, now: datetime) -> Tree:
    """All that a person should look at before they answer."""
    since = moment.since(run.awaiting_since, now) if run.awaiting_since else None
    expires = moment.until(run.awaiting_until, now) if run.awaiting_until else None
    root = Tree(line(f"TrainingRun {run.name}", run.phase, since, expires))
    by = f" by {run.requested_by}" if run.requested_by else ""
    root.add(line(f"{run.trigger}{by}:", run.why or "no reason was given"))
    if trained := run.said("Succeeded"):
        root.add(line(trained))
    for gate in run.gates:
        root.add(line("gate", gate.name, f"{gate.verdict}:", gate.message))
    for comparison in run.comparisons:
        root.add(_comparison(comparison))
    if run.mlflow:
        root.add(line(run.mlflow))
    root.add(line("evidence", run.evidence_digest))
    return root


def _comparison(seen: ComparisonResult) -> Text:
    rows = f"on {seen.rows} held-out rows" + ("" if seen.unseen else ", some of which the champion may have seen")
    return line(
        f"{seen.metric}: {seen.challenger:.4g} against the champion's {seen.champion:.4g} {rows};",
        f"the improvement is at least {seen.lower_bound:.4g} with {seen.confidence:.0%} confidence",
    )


def _drift(drift: Drift, now: datetime) -> Tree:
    judged = drift.within_limits
    branch = Tree(Text(" ").join((line(f"DriftMonitor {drift.monitor}:"), _judged(judged))))
    if drift.problem:
        branch.add(line("problem:", drift.problem))
    times = (
        f"last check {_ago(drift.last_check_at, now)}" if drift.last_check_at else None,
        f"next check {drift.next_check_at}" if drift.next_check_at else None,
    )
    if any(times):
        branch.add(line(", ".join(time for time in times if time)))
    if drift.report:
        branch.add(line(drift.report))
    return branch


def _judged(condition: Condition | None) -> Text:
    return line("nothing was compared yet") if condition is None else _condition(condition, is_told=False)


def _order(command: Command | None, handled: Handled | None) -> Tree | None:
    if command is None:
        return None
    target = f" {command.version}" if command.version else ""
    branch = Tree(line(f"Last order: {command.action}{target} by {command.by} at {command.at}", command.reason))
    came = handled.message if handled is not None and handled.at == command.at else "not carried out yet"
    branch.add(line(came))
    return branch
