"""What a Job tells MLflow: one run per owner's UID, however often the Job is tried."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from churn_operator.api.base import Model
from churn_operator.api.reasons import Reason
from churn_operator.api.results import encode_result
from churn_operator.api.tasks import OWNER_TAG, PROGRESS_TAG, RESULT_TAG, UID_TAG, Progress
from churn_operator.jobs.failure import JobError, Refused, Unavailable, shorten

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

REASON_TAG = "churnops.dev/reason"
"""MLflow run tag: why a Job gave up."""
_PARAM_LIMIT = 6000
_OWN_FAULT = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "FEATURE_DISABLED", "NOT_IMPLEMENTED", "ENDPOINT_NOT_FOUND"}
_DENIED = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}


def connect(tracking_uri: str) -> "MlflowClient":
    """MLflow's client, which gives up after half a minute: the operator tries the Job again."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri, registry_uri=tracking_uri)


@contextmanager
def translated() -> Iterator[None]:
    """Turns MLflow's errors into `JobError`; a request of ours that it cannot understand stays what it is."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except MlflowException as error:
        if error.error_code in _DENIED:
            raise Refused(Reason.TrackingUnavailable, f"MLflow refuses the credentials: {error}") from error
        if error.error_code in _OWN_FAULT:
            raise
        raise Unavailable(Reason.TrackingUnavailable, f"MLflow does not answer: {error}") from error
    except RequestException as error:
        raise Unavailable(Reason.TrackingUnavailable, f"MLflow does not answer: {error}") from error


@dataclass(frozen=True)
class Version:
    """A model version to register."""

    name: str
    owner: str
    tags: Mapping[str, str]
    description: str


class Tracker:
    """One MLflow run."""

    def __init__(self, client: "MlflowClient", run: "Run", clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._run = run
        self._clock = clock
        self._told = -1.0

    @property
    def run_id(self) -> str:
        return str(self._run.info.run_id)

    @property
    def experiment_id(self) -> str:
        return str(self._run.info.experiment_id)

    @property
    def result(self) -> str | None:
        """What an earlier attempt left, should it have come to a result."""
        found = self._run.data.tags.get(RESULT_TAG)
        return None if found is None else str(found)

    def progress(self, progress: Progress) -> None:
        """Tells how far the Job is, at most once a second."""
        now = self._clock()
        if 0 <= now - self._told < 1:
            return
        self._told = now
        with translated():
            self._client.set_tag(self.run_id, PROGRESS_TAG, encode_result(progress))

    def log(
        self, *, params: Mapping[str, object] = {}, metrics: Mapping[str, float] = {}, tags: Mapping[str, str] = {}
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = time.time_ns() // 1_000_000
        with translated():
            self._client.log_batch(
                self.run_id,
                metrics=[Metric(key, value, now, 0) for key, value in metrics.items()],
                params=[Param(key, str(value)[:_PARAM_LIMIT]) for key, value in params.items()],
                tags=[RunTag(key, value) for key, value in tags.items()],
            )

    def dataset(self, *, name: str, digest: str, source: str, context: str, profile: str) -> None:
        """Names the rows as the run's input; `digest` is cut to the 36 characters that MLflow keeps."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest.removeprefix("sha256:")[:36],
            source_type="external",
            source=source,
            profile=profile,
        )
        with translated():
            self._client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def artifacts(self, folder: Path, path: str | None = None) -> None:
        with translated():
            self._client.log_artifacts(self.run_id, str(folder), path)

    def register(self, version: Version, artifact_path: str) -> str:
        """The number of this run's version of the registered model, made if there is none yet.

        Raises:
            Refused: the name belongs to somebody else.
        """
        with translated():
            self._own(version)
            source = f"{self._run.info.artifact_uri}/{artifact_path}"
            known = self._client.search_model_versions(f"name = '{version.name}' and run_id = '{self.run_id}'")
            if not known:
                made = self._client.create_model_version(
                    version.name,
                    source,
                    self.run_id,
                    tags=dict(version.tags),
                    description=version.description,
                    await_creation_for=0,
                )
                return str(made.version)
            number = str(min(int(entry.version) for entry in known))
            for key, value in version.tags.items():
                self._client.set_model_version_tag(version.name, number, key, value)
            return number

    def _own(self, version: Version) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(version.name, tags={OWNER_TAG: version.owner})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        owner = self._client.get_registered_model(version.name).tags.get(OWNER_TAG)
        if owner != version.owner:
            whose = f"belongs to {owner}" if owner else f"has no tag {OWNER_TAG}"
            raise Refused(
                Reason.RegistryNameTaken, f"registered model {version.name!r} {whose}, not to {version.owner}"
            )

    def finish(self, result: Model) -> None:
        """Leaves the result in the run and closes it."""
        done = Progress(percent=100, step="done", eta_seconds=0)
        self.log(tags={RESULT_TAG: encode_result(result), PROGRESS_TAG: encode_result(done)})
        with translated():
            self._client.set_terminated(self.run_id, "FINISHED")

    def fail(self, reason: str, message: str) -> None:
        """Closes the run as FAILED."""
        self.log(tags={REASON_TAG: reason, "mlflow.note.content": shorten(message)})
        with translated():
            self._client.set_terminated(self.run_id, "FAILED")


def open_run(
    tracking_uri: str, experiment: str, *, name: str, uid: str, tags: Mapping[str, str], finished: bool
) -> Tracker:
    """The run that carries the owner's UID, made if there is none.

    `finished` says whether one that came to a result is looked for too: a TrainingRun has one run, a monitor one for
    each window.
    """
    with translated():
        client = connect(tracking_uri)
        experiment_id = _experiment(client, experiment)
        wanted = f"tags.`{UID_TAG}` = '{uid}'" + ("" if finished else " and attributes.status != 'FINISHED'")
        known = client.search_runs([experiment_id], wanted, order_by=["start_time ASC"])
        if known:
            run = known[0]
            client.update_run(run.info.run_id, status="RUNNING")
            return Tracker(client, run)
        labels = {**tags, UID_TAG: uid, "mlflow.runName": name}
        return Tracker(client, client.create_run(experiment_id, tags=labels, run_name=name))


def _experiment(client: "MlflowClient", name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # else another Job was faster
            raise
    found = client.get_experiment_by_name(name)
    if found is None:
        raise Refused(Reason.TrackingUnavailable, f"experiment {name!r} is deleted in MLflow: restore it")
    return str(found.experiment_id)


def failed(tracker: Tracker | None, error: BaseException) -> None:
    """Closes the run as FAILED, if there is one and MLflow still answers."""
    if tracker is None:
        return
    reason = error.reason if isinstance(error, JobError) else Reason.JobFailed
    try:
        tracker.fail(reason, str(error))
    except JobError as second:
        import logging

        logging.getLogger(__name__).warning("the run could not be closed: %s", second)
