"""`drift`: how far a window of rows is from what the champion was trained on, by Evidently."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from churn_operator.api.contract import CONTRACT_FILE, PROFILE_FILE, Contract
from churn_operator.api.inference_log import Partition
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import ColumnDrift, ColumnTests, DriftResult, DriftTask, LoggedRows, Window
from churn_operator.jobs import bundle, data
from churn_operator.jobs.tracking import Tracker, open_run
from churn_operator.storage.failure import Refused

if TYPE_CHECKING:
    import pandas as pd

    from churn_operator.jobs.distance import Distances

log = logging.getLogger(__name__)

REPORT = "drift.html"
PREDICTION = "probability of churn"
"""What the report calls the column of predictions."""
_COLUMNS = 16
"""No result names more features; the report has all."""


@dataclass(frozen=True)
class Found:
    """The current rows, so far as they have been looked at."""

    window: Window
    """Its rows are not counted yet where they are in a source."""
    read: Callable[[], "Rows"]


@dataclass(frozen=True, eq=False)
class Rows:
    """The current rows."""

    table: "pd.DataFrame"
    digest: str
    probability: "pd.Series | None" = None
    """What the champion answered, where its predictions were logged."""


def drift(task: DriftTask) -> DriftResult:
    """Compares, unless the window is the one that was judged last, or too small: then nothing heavy is even imported.

    Raises:
        JobError: the window cannot be compared, or a neighbour is away. The MLflow run, if any, is then FAILED.
    """
    found = _find(task)
    window = found.window
    if task.predictions is not None and window.rows < task.predictions.min_rows:
        log.info("%d predictions are fewer than %d", window.rows, task.predictions.min_rows)
        return DriftResult(outcome="TooFew", window=window)
    if window.revision == task.last_revision:
        log.info("%s is still at %s", window.uri, window.revision)
        return DriftResult(outcome="Unchanged", window=window)
    tags = {
        "churnops.dev/namespace": task.namespace,
        "churnops.dev/monitor": task.monitor,
        "churnops.dev/version": task.version,
        "churnops.dev/data-revision": window.revision,
    }
    tracker = open_run(task.tracking_uri, task.experiment, name=task.monitor, uid=task.uid, tags=tags, finished=False)
    try:
        result = _compare(task, found, tracker)
    except BaseException as error:
        tracker.fail(error)
        raise
    tracker.finish(result)
    return result


def _find(task: DriftTask) -> Found:
    """The window, by the cheapest look that tells whether it is a new one."""
    if task.predictions is not None:
        return _logged(task, task.predictions)
    if task.source is None:
        raise Refused(Reason.JobFailed, "the task names neither a source nor predictions")
    source, uri = task.source, data.address(task.source)
    revision = data.resolve(source)

    def read() -> Rows:
        content = data.read(source, revision)
        return Rows(data.table(content), content.digest)

    return Found(Window(uri=uri, revision=revision), read)


def _logged(task: DriftTask, asked: LoggedRows) -> Found:
    from churn_operator.jobs import predictions

    partition = Partition(task.namespace, task.churn_model, task.version)
    logged = predictions.read(asked, partition)
    revision = logged.revision
    window = Window(uri=logged.uri, revision=revision, rows=logged.table.num_rows, since=asked.since, until=asked.until)
    return Found(window, lambda: Rows(logged.features(), revision, logged.probabilities()))


def _compare(task: DriftTask, found: Found, tracker: Tracker) -> DriftResult:
    champion = bundle.load(task.model, only=(CONTRACT_FILE, PROFILE_FILE))
    current = found.read()
    if current.table.empty:
        raise Refused(Reason.DataEmpty, f"{found.window.uri} has no rows")
    distances = _distances(champion, current, task.tests)
    log.info("%d of %d features drifted", distances.drifted, len(distances.columns))
    tracker.artifact(REPORT, distances.html())
    window = found.window.model_copy(update={"rows": len(current.table)})
    _log(task, window, current.digest, distances, tracker)
    answered = () if distances.prediction is None else (distances.prediction,)
    return DriftResult(
        outcome="Compared",
        window=window,
        share=distances.share,
        columns=(*distances.columns[:_COLUMNS], *answered),
        features=len(distances.columns),
        run_id=tracker.run_id,
        experiment_id=tracker.experiment_id,
        report=REPORT,
    )


def _distances(champion: "bundle.Bundle", current: Rows, tests: ColumnTests) -> "Distances":
    from churn_operator.jobs import distance, profile
    from churn_operator.jobs.frame import conform

    contract = champion.contract if current.probability is None else comparable(champion.contract)
    clean, notes = conform(current.table, contract)
    for note in notes:
        log.warning("in the window, %s", note)
    described = champion.profile
    reference = profile.rebuild(described)
    answers = profile.rebuild_prediction(described)
    if current.probability is None or answers is None:
        return distance.measure(reference, clean, contract, tests)
    name = _free(PREDICTION, contract)
    now = clean.assign(**{name: current.probability.to_numpy()})
    return distance.measure(reference.assign(**{name: answers}), now, contract, tests, prediction=name)


def comparable(contract: Contract) -> Contract:
    """What the log tells of a contract's features: not those that are personal data, of which it holds no values.

    Raises:
        Refused: all of them are.
    """
    hidden = {p.column for p in contract.personal}
    features = tuple(feature for feature in contract.features if feature.name not in hidden)
    if not features:
        raise Refused(Reason.NoFeatures, "every feature is personal data, of which the inference log holds no values")
    return contract.model_copy(update={"features": features})


def _free(name: str, contract: Contract) -> str:
    """The name, made longer until no feature has it."""
    taken = {feature.name for feature in contract.features}
    while name in taken:
        name += "'"
    return name


def _log(task: DriftTask, window: Window, digest: str, found: "Distances", tracker: Tracker) -> None:
    params: dict[str, Any] = {
        "version": task.version,
        "model_digest": task.model.digest,
        "numerical": task.tests.numerical,
        "categorical": task.tests.categorical,
        "threshold": task.tests.threshold,
        "data_uri": window.uri,
        "data_revision": window.revision,
        "data_digest": digest,
    }
    if window.since is not None and window.until is not None:
        params |= {"since": window.since, "until": window.until}
    scores = {f"drift_{metric_name(column)}": column.score for column in found.columns}
    if found.prediction is not None:
        scores["prediction_drift"] = found.prediction.score
    tracker.log(params=params, metrics={"drift_share": found.share, "rows": window.rows, **scores})


def metric_name(column: ColumnDrift) -> str:
    """The column's name with what MLflow allows in a metric's."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in column.name)[:200]
