"""`drift`: how far a window of rows is from what the champion was trained on, by Evidently."""

import logging
from typing import TYPE_CHECKING, Any

from churn_operator.api.contract import CONTRACT_FILE, PROFILE_FILE
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import ColumnDrift, DriftResult, DriftTask, Window
from churn_operator.jobs import bundle, data
from churn_operator.jobs.tracking import Tracker, open_run
from churn_operator.storage.failure import Refused

if TYPE_CHECKING:
    from churn_operator.jobs.distance import Distances

log = logging.getLogger(__name__)

REPORT = "drift.html"
_COLUMNS = 16
"""No result names more; the report has all."""


def drift(task: DriftTask) -> DriftResult:
    """Compares, unless the window is the one that was judged last: then nothing heavy is even imported.

    Raises:
        JobError: the window cannot be compared, or a neighbour is away. The MLflow run, if any, is then FAILED.
    """
    revision = data.resolve(task.source)
    if revision == task.last_revision:
        log.info("%s is still at %s", data.address(task.source), revision)
        return DriftResult(outcome="Unchanged", window=Window(uri=data.address(task.source), revision=revision))
    tags = {
        "churnops.dev/namespace": task.namespace,
        "churnops.dev/monitor": task.monitor,
        "churnops.dev/version": task.version,
        "churnops.dev/data-revision": revision,
    }
    tracker = open_run(task.tracking_uri, task.experiment, name=task.monitor, uid=task.uid, tags=tags, finished=False)
    try:
        result = _compare(task, revision, tracker)
    except BaseException as error:
        tracker.fail(error)
        raise
    tracker.finish(result)
    return result


def _compare(task: DriftTask, revision: str, tracker: Tracker) -> DriftResult:
    from churn_operator.jobs import distance
    from churn_operator.jobs.frame import conform
    from churn_operator.jobs.profile import rebuild

    champion = bundle.load(task.model, only=(CONTRACT_FILE, PROFILE_FILE))
    content = data.read(task.source, revision)
    table = data.table(content)
    if table.empty:
        raise Refused(Reason.DataEmpty, f"{content.uri} has no rows")
    current, notes = conform(table, champion.contract)
    for note in notes:
        log.warning("in the window, %s", note)
    found = distance.measure(rebuild(champion.profile), current, champion.contract, task.tests)
    log.info("%d of %d features drifted", found.drifted, len(found.columns))
    tracker.artifact(REPORT, found.html())
    _log(task, content, table.shape[0], found, tracker)
    return DriftResult(
        outcome="Compared",
        window=Window(uri=content.uri, revision=content.revision, rows=len(table)),
        share=found.share,
        columns=tuple(found.columns[:_COLUMNS]),
        features=len(found.columns),
        run_id=tracker.run_id,
        experiment_id=tracker.experiment_id,
        report=REPORT,
    )


def _log(task: DriftTask, content: data.Content, rows: int, found: "Distances", tracker: Tracker) -> None:
    params: dict[str, Any] = {
        "version": task.version,
        "model_digest": task.model.digest,
        "numerical": task.tests.numerical,
        "categorical": task.tests.categorical,
        "threshold": task.tests.threshold,
        "data_uri": content.uri,
        "data_revision": content.revision,
        "data_digest": content.digest,
    }
    scores = {f"drift_{metric_name(column)}": column.score for column in found.columns}
    tracker.log(params=params, metrics={"drift_share": found.share, "rows": rows, **scores})


def metric_name(column: ColumnDrift) -> str:
    """The column's name with what MLflow allows in a metric's."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in column.name)[:200]
