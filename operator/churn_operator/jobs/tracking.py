"""What a Job tells MLflow: one run per owner's UID, however often the Job is tried."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from churn_operator.api.base import Model
from churn_operator.api.reasons import Reason
from churn_operator.api.results import encode_result
from churn_operator.api.tasks import OWNER_TAG, PROGRESS_TAG, RESULT_TAG, UID_TAG, Progress
from churn_operator.jobs.mlflow import Declined, Json, Mlflow
from churn_operator.storage.failure import JobError, Refused, Unavailable, shorten

log = logging.getLogger(__name__)

REASON_TAG = "churnops.dev/reason"
"""MLflow run tag: why a Job gave up."""
_PARAM_LIMIT = 6000
_BATCH = 500
"""MLflow takes no more than 1,000 values at a time."""


@dataclass(frozen=True)
class Version:
    """A model version to register."""

    name: str
    tags: Mapping[str, str]
    description: str


class Tracker:
    """One MLflow run."""

    def __init__(self, server: Mlflow, run: Json, clock: Callable[[], float] = time.time) -> None:
        self._server = server
        self._clock = clock
        self._opened = clock()
        self._told: float | None = None
        info = run["info"]
        self.run_id = str(info["run_id"])
        self.experiment_id = str(info["experiment_id"])
        self._artifact_uri = str(info["artifact_uri"])
        self.result: str | None = _untagged(run.get("data", {}).get("tags", [])).get(RESULT_TAG)
        """What an earlier attempt left, should it have come to a result."""

    def progress(self, percent: int, step: str, metric: float | None = None) -> None:
        """Tells how far the Job is, at most once a second; what is left is guessed to go on at the pace so far."""
        now = self._clock()
        if self._told is not None and now - self._told < 1:
            return
        self._told = now
        eta = int((now - self._opened) * (100 - percent) / percent) if percent else None
        progress = Progress(percent=percent, step=step, metric=metric, eta_seconds=eta)
        tag = {"run_id": self.run_id, "key": PROGRESS_TAG, "value": encode_result(progress)}
        try:
            self._server.post("runs/set-tag", tag)
        except Unavailable as error:  # hours of fitting are worth more than a number that nobody sees
            log.warning("progress could not be told: %s", error)

    def log(
        self,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        now = self._now()
        values = [{"key": k, "value": v, "timestamp": now, "step": 0} for k, v in (metrics or {}).items()]
        first: Json = {
            "params": [{"key": k, "value": str(v)[:_PARAM_LIMIT]} for k, v in (params or {}).items()],
            "tags": _tagged(tags or {}),
        }
        for start in range(0, max(len(values), 1), _BATCH):
            batch = {"run_id": self.run_id, "metrics": values[start : start + _BATCH], **first}
            self._server.post("runs/log-batch", batch)
            first = {}

    def dataset(self, *, name: str, digest: str, source: str, context: str, profile: str) -> None:
        """Names the rows as the run's input; `digest` is cut to the 36 characters that MLflow keeps."""
        dataset = {
            "name": name,
            "digest": digest.removeprefix("sha256:")[:36],
            "source_type": "external",
            "source": source,
            "profile": profile,
        }
        entry = {"dataset": dataset, "tags": _tagged({"mlflow.data.context": context})}
        self._server.post("runs/log-inputs", {"run_id": self.run_id, "datasets": [entry]})

    def artifact(self, path: str, data: bytes) -> None:
        self._server.upload(self._artifact_uri, path, data)

    def register(self, version: Version, artifact_path: str) -> str:
        """The number of this run's version of the registered model, made if there is none yet."""
        mine = f"name = '{version.name}' and run_id = '{self.run_id}'"
        known = self._server.get("model-versions/search", filter=mine).get("model_versions", [])
        if not known:
            asked = {
                "name": version.name,
                "source": f"{self._artifact_uri}/{artifact_path}",
                "run_id": self.run_id,
                "tags": _tagged(version.tags),
                "description": version.description,
            }
            return str(self._server.post("model-versions/create", asked)["model_version"]["version"])
        number = str(min(int(entry["version"]) for entry in known))
        for tag in _tagged(version.tags):
            self._server.post("model-versions/set-tag", {"name": version.name, "version": number, **tag})
        return number

    def own(self, name: str, owner: str) -> None:
        """Makes the registered model the owner's.

        Raises:
            Refused: it belongs to somebody else.
        """
        try:
            self._server.post("registered-models/create", {"name": name, "tags": _tagged({OWNER_TAG: owner})})
        except Declined as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
        known = self._server.get("registered-models/get", name=name)["registered_model"]
        found = _untagged(known.get("tags", [])).get(OWNER_TAG)
        if found != owner:
            whose = f"belongs to {found}" if found else f"has no tag {OWNER_TAG}"
            raise Refused(Reason.RegistryNameTaken, f"registered model {name!r} {whose}; it must be {owner}'s")

    def finish(self, result: Model) -> None:
        """Leaves the result in the run and closes it."""
        done = Progress(percent=100, step="done", eta_seconds=0)
        self.log(tags={RESULT_TAG: encode_result(result), PROGRESS_TAG: encode_result(done)})
        self._close("FINISHED")

    def fail(self, error: BaseException) -> None:
        """Closes the run as FAILED, if MLflow still answers; as KILLED where the Job was told to stop."""
        reason = error.reason if isinstance(error, JobError) else Reason.JobFailed
        try:
            self.log(tags={REASON_TAG: reason, "mlflow.note.content": shorten(str(error))})
            self._close("FAILED" if isinstance(error, Exception) else "KILLED")
        except (JobError, Declined) as second:
            log.warning("the run could not be closed: %s", second)

    def _close(self, status: str) -> None:
        self._server.post("runs/update", {"run_id": self.run_id, "status": status, "end_time": self._now()})

    def _now(self) -> int:
        return int(self._clock() * 1000)


def open_run(
    tracking_uri: str, experiment: str, *, name: str, uid: str, tags: Mapping[str, str], finished: bool
) -> Tracker:
    """The run that carries the owner's UID, made if there is none.

    `finished` says whether one that came to a result is looked for too: a TrainingRun has one run, a monitor one for
    each window.
    """
    server = Mlflow(tracking_uri)
    experiment_id = _experiment(server, experiment)
    wanted = f"tags.`{UID_TAG}` = '{uid}'" + ("" if finished else " and attributes.status != 'FINISHED'")
    search = {"experiment_ids": [experiment_id], "filter": wanted, "max_results": 1, "order_by": ["start_time ASC"]}
    for run in server.post("runs/search", search).get("runs", []):
        tracker = Tracker(server, run)
        if tracker.result is None:
            server.post("runs/update", {"run_id": tracker.run_id, "status": "RUNNING"})
        return tracker
    asked = {
        "experiment_id": experiment_id,
        "run_name": name,
        "start_time": int(time.time() * 1000),
        "tags": _tagged({**tags, UID_TAG: uid}),
    }
    return Tracker(server, server.post("runs/create", asked)["run"])


def _experiment(server: Mlflow, name: str) -> str:
    """The experiment's id, made if there is none."""
    try:
        found = server.get("experiments/get-by-name", experiment_name=name)["experiment"]
    except Declined as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        try:
            return str(server.post("experiments/create", {"name": name})["experiment_id"])
        except Declined as second:
            if second.code != "RESOURCE_ALREADY_EXISTS":
                raise
            # another Job was faster
            found = server.get("experiments/get-by-name", experiment_name=name)["experiment"]
    if found.get("lifecycle_stage") == "deleted":
        raise Refused(Reason.TrackingUnavailable, f"experiment {name!r} is deleted in MLflow: restore it")
    return str(found["experiment_id"])


def _tagged(tags: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _untagged(tags: list[Json]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in tags}
