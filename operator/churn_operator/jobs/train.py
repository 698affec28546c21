"""`train`: from a table, or from the registry, to a registered challenger, measured against the champion."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from churn_operator.api.contract import Manifest
from churn_operator.api.data import DataRead
from churn_operator.api.results import decode_result
from churn_operator.api.tasks import (
    MODEL_DIGEST_TAG,
    RUN_TAG,
    Candidate,
    ComparisonResult,
    ModelRef,
    TrainResult,
    TrainTask,
)
from churn_operator.jobs import (
    bundle,
    compare,
    convert,
    data,
    flavour,
    golden,
    metrics,
    profile,
    registered,
    search,
)
from churn_operator.jobs.compare import Challenger
from churn_operator.jobs.mlflow import Mlflow
from churn_operator.jobs.rows import Rows, prepare
from churn_operator.jobs.tracking import Tracker, Version, open_run
from churn_operator.storage.failure import blamed_on

if TYPE_CHECKING:
    from churn_operator.jobs.bundle import Bundle

log = logging.getLogger(__name__)


def train(task: TrainTask) -> TrainResult:
    """Trains, evaluates, stores and registers, or evaluates and stores what is registered.

    The same again is recognised by the TrainingRun's UID.

    Raises:
        JobError: the data cannot be learned from, or a neighbour is away. The MLflow run is then FAILED.
    """
    tracker = open_run(task.tracking_uri, task.experiment, name=task.run, uid=task.uid, tags=_tags(task), finished=True)
    if tracker.result is not None:
        log.info("an earlier attempt came to this run's result")
        return TrainResult.model_validate_json(decode_result(tracker.result))
    try:
        return _train(task, tracker)
    except BaseException as error:
        tracker.fail(error)
        raise


def _train(task: TrainTask, tracker: Tracker) -> TrainResult:
    tracker.progress(0, "read")
    tracker.own(task.registered_model, task.owner)
    champion = bundle.load(task.champion.model) if task.champion else None
    content = data.read(task.data.source, task.revision, task.storage_uri)
    log.info("read %s at %s, %d bytes", content.uri, content.revision, len(content.data))
    with blamed_on(content.revision):
        rows = prepare(content, task.data)
        challenger = learn(rows, task, tracker) if task.candidate is None else adopt(rows, task, task.candidate)
    rows = challenger.rows
    read = DataRead(
        uri=content.uri,
        revision=content.revision,
        digest=content.digest,
        snapshot=content.snapshot,
        rows=len(rows.table) + rows.dropped,
        holdout_rows=int(rows.held_out.sum()),
    )
    tracker.progress(90, "evaluate", challenger.scores.get("cv_score"))
    measured = {m: metrics.evaluate(m, challenger.forecast) for m in metrics.METRICS} | {"parity": challenger.parity}
    compared, champion_metrics = compare_all(task, champion, challenger, content.digest)
    tracker.progress(95, "register", challenger.scores.get("cv_score"))
    stored = bundle.store(challenger.bundle, task.storage_uri)
    log.info("stored %s", stored.uri)
    record(tracker, task, read, challenger, measured | champion_metrics)
    number = task.candidate.registry_version if task.candidate else register(tracker, task, read, challenger, stored)
    log.info("it is version %s of %s", number, task.registered_model)
    result = TrainResult(
        data=read,
        estimator=challenger.bundle.manifest.estimator,
        metrics=measured,
        threshold=challenger.forecast.threshold,
        comparisons=compared,
        scores=metrics.score_counts(challenger.forecast.probability),
        model=stored,
        registry_version=number,
        run_id=tracker.run_id,
        experiment_id=tracker.experiment_id,
        golden=challenger.golden,
    )
    tracker.finish(result)
    return result


def learn(rows: Rows, task: TrainTask, tracker: Tracker) -> Challenger:
    """Searches on the training rows, fits the best, converts it, and asks it about the held-out ones."""
    asked = rows.frame[rows.held_out]
    sample = search.Sample(rows.frame[~rows.held_out], rows.truth[~rows.held_out], rows.contract)

    def report(done: int, total: int, best: float) -> None:
        tracker.progress(5 + 75 * done // total, "search", best)

    with search.threads(len(sample.truth)):
        found = search.run(sample, task.training, report)
        best = found[0]
        threshold = metrics.best_threshold(sample.truth, best.out_of_fold)
        tracker.progress(80, "fit", best.score)
        fitted = search.fit(sample, best.name, best.params)
        tracker.progress(85, "convert", best.score)
        onnx = convert.to_onnx(fitted, rows.contract)
        answers = convert.Model(onnx, rows.contract).probabilities(asked)
        parity = float(np.abs(answers - fitted.predict_proba(asked)[:, 1]).max())
        log.info("%s is kept; threshold %.3f, parity %.1e", best.name, threshold, parity)
    typical = golden.golden(fitted, rows.frame[~rows.held_out], rows.contract)
    described = profile.describe(rows.frame[~rows.held_out], rows.contract, answers)
    manifest = describe(task, rows, best.name, threshold)
    return Challenger(
        bundle=bundle.pack(manifest, onnx, rows.contract, described, typical),
        rows=rows,
        forecast=metrics.Forecast(rows.truth[rows.held_out], answers, threshold),
        parity=parity,
        golden=typical,
        params={
            "estimator": best.name,
            "metric": task.training.metric,
            "folds": task.training.cross_validation.folds,
            "threshold": threshold,
        }
        | {f"{best.name}.{key}": value for key, value in best.params.items()},
        scores={f"cv_{c.name}": c.score for c in reversed(found)} | {"cv_score": best.score, "cv_spread": best.spread},
    )


def describe(task: TrainTask, rows: Rows, estimator: str, threshold: float) -> Manifest:
    return Manifest(
        estimator=estimator,
        threshold=threshold,
        target=task.data.target,
        positive_label=rows.positive_label,
        features=tuple(feature.name for feature in rows.contract.features),
        split_by=rows.split_by,
        files={},
    )


def adopt(rows: Rows, task: TrainTask, candidate: Candidate) -> Challenger:
    """Takes a registered version, and asks it about the held-out rows."""
    version = candidate.registry_version
    found = registered.fetch(Mlflow(task.tracking_uri), task.registered_model, version)
    return registered.judge(found, version, rows, task.data)


def compare_all(
    task: TrainTask, champion: "Bundle | None", challenger: Challenger, digest: str
) -> tuple[tuple[ComparisonResult, ...], dict[str, float]]:
    """The comparisons that the gates ask for, and the champion's metrics on the same rows."""
    if champion is None:
        return (), {}
    rows = challenger.rows
    common = compare.common_rows(rows, champion)
    both = common.mask
    theirs = metrics.Forecast(
        rows.truth[both], compare.answers(champion, rows.table[both]), champion.manifest.threshold
    )
    # of the challenger's answers, which are for all held-out rows, those for the same rows
    ours = metrics.Forecast(
        rows.truth[both], challenger.forecast.probability[both[rows.held_out]], challenger.forecast.threshold
    )
    seed = int(digest.removeprefix("sha256:")[:15], 16)
    return (
        tuple(compare.compare(asked, ours, theirs, common, seed) for asked in task.comparisons),
        {f"champion_{m}": metrics.evaluate(m, theirs) for m in metrics.METRICS},
    )


def record(
    tracker: Tracker, task: TrainTask, read: DataRead, challenger: Challenger, measured: Mapping[str, float]
) -> None:
    """Parameters, metrics and the data set of the MLflow run."""
    counted = {"rows": read.rows, "holdout_rows": read.holdout_rows}
    tracker.log(params=challenger.params, metrics={**measured, **challenger.scores, **counted}, tags=_lineage(read))
    source = json.dumps({"uri": read.uri, "revision": read.revision, "snapshot": read.snapshot})
    context = "training" if task.candidate is None else "evaluation"
    tracker.dataset(name=task.model, digest=read.digest, source=source, context=context, profile=json.dumps(counted))


def register(tracker: Tracker, task: TrainTask, read: DataRead, challenger: Challenger, stored: ModelRef) -> str:
    """The version's number in MLflow's registry."""
    for name, content in flavour.files(challenger.bundle, tracker.run_id).items():
        tracker.artifact(f"{flavour.ARTIFACT_PATH}/{name}", content)
    model = {MODEL_DIGEST_TAG: stored.digest, "churnops.dev/model-uri": stored.uri}
    tags = _tags(task) | _lineage(read) | model
    version = Version(task.registered_model, tags, f"TrainingRun {task.run}, trigger {task.trigger}. {task.reason}")
    return tracker.register(version, flavour.ARTIFACT_PATH)


def _tags(task: TrainTask) -> dict[str, str]:
    """Lineage of the run and of the version."""
    return {
        RUN_TAG: task.run,
        "churnops.dev/namespace": task.namespace,
        "churnops.dev/model": task.model,
        "churnops.dev/trigger": task.trigger,
        "churnops.dev/trigger-reason": task.reason,
        "churnops.dev/image": task.image,
        "churnops.dev/code": _code(),
    }


def _lineage(read: DataRead) -> dict[str, str]:
    """Which rows; tags, for a second attempt may have to read others, and MLflow's params never change."""
    return {
        "churnops.dev/data-uri": read.uri,
        "churnops.dev/data-revision": read.revision,
        "churnops.dev/data-digest": read.digest,
    }


def _code() -> str:
    """Digest of the sources that train: an image's name may be moved, and a shell has none."""
    digest = hashlib.sha256()
    package = Path(__file__).parent.parent
    for path in sorted([*package.glob("api/*.py"), *package.glob("jobs/*.py")]):
        digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    return f"sha256:{digest.hexdigest()}"
