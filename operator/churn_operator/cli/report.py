"""Why each version serves, and who said so: for an auditor. Pure; `-o json` prints it as it is."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.text import Text

from churn_operator.api.approval import ApprovalSpec
from churn_operator.api.base import Digest
from churn_operator.api.churnmodel import ChurnModelStatus, FallbackStatus, ServedVersion
from churn_operator.api.data import DataRead
from churn_operator.api.tasks import ModelRef
from churn_operator.cli import checks, moment
from churn_operator.cli.chain import Chain, Entry, begun, grown
from churn_operator.cli.checks import Check, Outcome
from churn_operator.cli.facts import Record, facts, is_of, record
from churn_operator.cli.summary import Object, Run, Version, read
from churn_operator.cli.tree import line


class Stated(Version):
    """A version that the status remembers, and what it is of."""

    served: str | None = None
    """When it became champion last."""
    percent: int
    """Of the requests, as it was read back."""
    model: ModelRef
    revision: str
    requested_at: str | None = None
    origin: Run | None = None
    """The run. Absent: it is gone."""
    data: DataRead | None = None
    """The rows that its run was given."""


class Report(Chain):
    """The document. The chain is of the entries: what is stated beside them is as the cluster has it now."""

    at: str
    """When it was made."""
    after: Digest | None = None
    """The head of the report that it goes on from."""
    fallback: FallbackStatus | None = None
    versions: tuple[Stated, ...]
    checks: tuple[Check, ...]

    @property
    def fails(self) -> bool:
        return any(check.outcome is Outcome.Failed for check in self.checks)


def chain_of(model: Object) -> Chain:
    """An empty one of this very model."""
    meta = model["metadata"]
    return begun(meta["name"], meta["namespace"], meta["uid"])


def report(model: Object, runs: Sequence[Object], earlier: Chain | None, now: datetime) -> Report:
    status = read(ChurnModelStatus, model, "status")
    file = read(ApprovalSpec, {**model, "approval": model["spec"].get("approval")}, "approval").approved
    found = sorted((record(run, file) for run in runs), key=lambda run: run.run.number)
    records = [run for run in found if is_of(run, model["metadata"]["uid"])]
    by_name = {run.name: run for run in records}
    told = facts(status, records)
    chain = grown(earlier or chain_of(model), told)
    return Report(
        **dict(chain),
        at=moment.stamp(now),
        after=earlier and earlier.head,
        fallback=status.fallback,
        versions=tuple(_stated(served, status, by_name.get(served.run)) for served in status.versions),
        checks=(
            *(checks.of_version(served, by_name) for served in status.versions),
            *checks.of_runs(records),
            *checks.of_chain(earlier, told),
        ),
    )


def _stated(served: ServedVersion, status: ChurnModelStatus, run: Record | None) -> Stated:
    known = {field: getattr(served, field) for field in Stated.model_fields if hasattr(served, field)}
    percent = next((share.percent for share in status.traffic if share.version == served.version), 0)
    if run is None:
        return Stated(**known, percent=percent)
    data = run.status.result and run.status.result.data
    return Stated(**known, percent=percent, requested_at=run.made, origin=run.run, data=data)


def text(found: Report) -> Text:
    """The same, to be read and kept: a line for each thing that is said."""
    return Text("\n").join(line(said) for said in _lines(found))


def _lines(found: Report) -> Iterator[str]:
    yield f"# Report on ChurnModel {found.namespace}/{found.name}"
    yield f"Made at {found.at}, of the model with uid {found.uid}, from what status says in the cluster."
    yield "Who wrote that there, nothing but the API server's audit log can witness."
    yield from ("", "## What serves")
    shares = [f"- {one.version} answers {one.percent} % of the requests" for one in found.versions if one.percent]
    yield from shares or ["- No share of the requests was read back."]
    if found.fallback is not None:
        yield f"- {found.fallback.version} answers in the champion's place since {found.fallback.since}"
    for version in found.versions:
        yield from ("", f"## {version.version}: {version.state} since {version.since}")
        yield from (f"- {said}" for said in _statement(version))
    yield from ("", "## What happened")
    yield from (f"{number}. {_told(entry)}" for number, entry in enumerate(found.entries, 1))
    yield f"The last entry's hash is {found.head}; it stands for all of them."
    yield from ("", "## What was checked")
    yield from (f"- {check.outcome}: {check.message}" for check in found.checks)
    counts = Counter(check.outcome for check in found.checks)
    yield f"{counts[Outcome.Passed]} passed, {counts[Outcome.Failed]} failed, {counts[Outcome.Unknown]} cannot be told."


def _told(entry: Entry) -> str:
    """With the beginnings of the digests: whole ones are in the document."""
    by = f" by {entry.by}" if entry.by else ""
    of = ", ".join(f"{what} {digest.removeprefix('sha256:')[:12]}" for what, digest in entry.digests.to_dict().items())
    said = f": {entry.message}" if entry.message else ""
    return f"{entry.at} {entry.what} {entry.subject}{by}{f' ({of})' if of else ''}{said}"


def _statement(version: Stated) -> Iterator[str]:
    yield f"Because: {version.reason}"
    yield f"Became champion: {version.served or 'never'}, {version.metric}"
    yield f"Model: {version.model.digest} at {version.model.uri}"
    run, data = version.origin, version.data
    if run is None:
        yield f"Run: {version.run}, which is gone; data {version.revision}"
        return
    asked = run.requested_by or ("nobody who is named" if run.trigger == "Manual" else "the operator")
    yield f"Run: {run.name}, {run.trigger}, asked for at {version.requested_at} by {asked}: {run.why}"
    if data is not None:
        yield f"Data: {data.uri} ({data.revision}), {data.digest}, {data.rows} rows, {data.holdout_rows} held out"
    yield from (f"Gate {gate.name} {gate.verdict}: {gate.message}" for gate in run.gates)
    yield f"Evidence: {run.evidence_digest or 'put up for nobody'}"
    if (given := run.approval) is not None:
        said = given.comment or "without a word"
        yield f"{given.decision} by {given.by} at {given.at} on {given.evidence_digest}: {said}"
    else:
        yield f"Approval: {run.said('Approved')}"
