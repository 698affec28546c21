"""Whether what is on record bears out what serves. Each check is a sentence. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum

from churn_operator.api.base import Model
from churn_operator.api.churnmodel import ServedVersion
from churn_operator.api.digest import evidence_digest
from churn_operator.api.trainingrun import RunPhase, Trigger
from churn_operator.cli.chain import Chain, Fact
from churn_operator.cli.facts import Record, instant


class Outcome(StrEnum):
    """What a check came to."""

    Passed = "Passed"
    Failed = "Failed"
    Unknown = "Unknown"
    """What it would take to tell is not on record."""


class Check(Model):
    """One rule, and what was found."""

    outcome: Outcome
    message: str


def passed(message: str) -> Check:
    return Check(outcome=Outcome.Passed, message=message)


def failed(message: str) -> Check:
    return Check(outcome=Outcome.Failed, message=message)


def unknown(message: str) -> Check:
    return Check(outcome=Outcome.Unknown, message=message)


Rule = Callable[[Record], Check | None]
"""None where it says nothing of such a run."""


def its_evidence_comes_out_again(run: Record) -> Check | None:
    """Computed as the operator does, from what the status says was given, measured and found."""
    status, recorded = run.status, run.status.evidence_digest
    if recorded is None:
        return None
    if status.resolved is None or status.result is None:
        return failed(f"{run.name} offered the evidence {recorded}, and what that was is not on record.")
    now = evidence_digest(status.resolved, status.gates, status.result, status.verdicts)
    if now == recorded:
        return passed(f"The evidence of {run.name}, computed again, is the one on record, {recorded}.")
    return failed(f"The evidence of {run.name}, computed again by this release, is {now}, and {recorded} is on record.")


def it_was_approved_on_that_evidence(run: Record) -> Check | None:
    """By a person, or by the model's file, where somebody had to be asked."""
    status, given, recorded = run.status, run.status.approval, run.status.evidence_digest
    if status.phase is not RunPhase.Accepted:
        return None
    if given is not None and given.decision == "Approved":
        said = f"{given.by} approved {run.name} on the evidence {given.evidence_digest}"
        is_same = given.evidence_digest == recorded
        return passed(f"{said}, which is on record.") if is_same else failed(f"{said}, and {recorded} is on record.")
    if run.approved_in_file is not None:
        return _listed(run)
    if run.approved is not None or (status.approval_terms is not None and status.approval_terms.required):
        return failed(f"{run.name} had to be approved and was accepted, and no approval is on record.")
    return None


def _listed(run: Record) -> Check:
    recorded, said = run.status.evidence_digest, f"{run.name} was approved by the model's file (spec.approval.approved)"
    if run.listed is None:
        return unknown(f"{said}, which does not list it any more: ask the file's history on which evidence.")
    if run.listed == recorded:
        return passed(f"{said}, on the evidence on record, {recorded}: the file's history says by whom.")
    return failed(f"{said}, which lists {run.listed}, and {recorded} is on record.")


def somebody_else_approved_it(run: Record) -> Check | None:
    given, asked = run.status.approval, run.spec.requested_by
    if run.status.phase is not RunPhase.Accepted or given is None:
        return None
    if given.by == asked:
        return failed(f"{given.by} asked for {run.name} and approved it.")
    if asked is None and run.spec.trigger is Trigger.Manual:
        return failed(
            f"{run.name} was asked for by hand and does not say by whom: perhaps by {given.by}, who approved."
        )
    return passed(f"{given.by}, who decided on {run.name}, is not who asked for it ({asked or 'the operator'}).")


def no_gate_failed(run: Record) -> Check | None:
    if run.status.phase is not RunPhase.Accepted:
        return None
    said = {verdict.name: verdict.verdict for verdict in run.status.verdicts}
    asked = dict.fromkeys((gate.name for gate in run.status.gates), "not judged")
    against = [f"{gate}: {verdict}" for gate, verdict in (asked | said).items() if verdict in {"Failed", "not judged"}]
    if against:
        return failed(f"{run.name} was accepted against its gates: {', '.join(against)}.")
    return passed(f"{run.name} was accepted, and no gate failed (judged: {', '.join(said) or 'none'}).")


def nobody_decided_before_it_was_there(run: Record) -> Check | None:
    given = run.status.approval
    if given is None:
        return None
    said = f"{given.by} decided on {run.name} at {given.at}"
    if instant(run.made) <= instant(given.at):
        return passed(f"{said}, after it was made at {run.made}.")
    return failed(f"{said}, before it was made at {run.made}.")


RULES: tuple[Rule, ...] = (
    its_evidence_comes_out_again,
    it_was_approved_on_that_evidence,
    somebody_else_approved_it,
    no_gate_failed,
    nobody_decided_before_it_was_there,
)


def of_runs(runs: Iterable[Record]) -> Iterator[Check]:
    yield from (check for run in runs for rule in RULES if (check := rule(run)) is not None)


def of_version(served: ServedVersion, runs: Mapping[str, Record]) -> Check:
    """That the run which is said to have made it was accepted, and made these files."""
    run, said = runs.get(served.run), f"{served.version} is of run {served.run}"
    if run is None:
        return unknown(f"{said}, which is gone: an earlier report may know it.")
    if run.status.phase is not RunPhase.Accepted or run.status.version != served.version:
        return failed(f"{said}, which is {run.status.phase} and made {run.status.version or 'no version'}.")
    if run.digests.model != served.model.digest:
        return failed(f"{said}, which measured the model {run.digests.model}, and not {served.model.digest}.")
    return passed(f"{said}, which was accepted and measured its model, {served.model.digest}.")


def of_chain(earlier: Chain | None, facts: Iterable[Fact]) -> Iterator[Check]:
    """That the cluster tells of what it told of before as it did then."""
    if earlier is None:
        yield unknown("No earlier report was given (--after): whether the cluster once told otherwise is not known.")
        return
    now = {fact.identity: fact for fact in facts}
    known = [entry for entry in earlier.entries if entry.identity in now]
    denied = {entry: why for entry in known if (why := entry.denied_by(now[entry.identity]))}
    yield from (failed(f"{entry} was told otherwise before: {why}.") for entry, why in denied.items())
    if not denied:
        kept, count = len(earlier.entries) - len(known), len(earlier.entries)
        yield passed(
            f"Of {count} entries told before, {len(known)} are told the same, {kept} are remembered here alone."
        )
