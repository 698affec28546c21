"""What the operator hands to a Job, and what the Job leaves behind.

A task is JSON in a ConfigMap, mounted at TASK_PATH. A result is JSON of at most RESULT_LIMIT bytes in the container's
termination message, and, for `train` and `drift`, a tag of the MLflow run under the owner's UID.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from churn_operator.api.analysis import ScoreCounts, Share
from churn_operator.api.base import Column, Digest, FreeForm, Model, Name, Revision, Text, Time, Uri, Word
from churn_operator.api.data import DataRead, DataSource, DataSpec
from churn_operator.api.training import Confidence, Metric, TrainingSpec

TASK_PATH = "/task/task.json"
TERMINATION_PATH = "/dev/termination-log"
CLAIM_PATH = "/data"
"""Where a source's claim is mounted."""
SOURCE_PREFIX = "SOURCE_"
"""Stands before the variables of a source's own Secret, beside those of the object store."""
LOG_PREFIX = "LOG_"
"""The same for the inference log's, where the model's files are in another object store."""
RESULT_LIMIT = 4096

EXIT_REFUSED = 10
"""Exit code: the input is at fault; trying again cannot help."""
EXIT_UNAVAILABLE = 11
"""Exit code: a neighbour is away; trying again can help."""

UID_TAG = "churnops.dev/uid"
"""MLflow run tag: UID of the TrainingRun or DriftMonitor that owns the run."""
RUN_TAG = "churnops.dev/run"
"""MLflow run and model version tag: name of the TrainingRun."""
OWNER_TAG = "churnops.dev/owner"
"""Registered model tag: whose it is."""
MODEL_DIGEST_TAG = "churnops.dev/model-digest"
"""Model version tag: the digest of its files."""
PROGRESS_TAG = "churnops.dev/progress"
"""MLflow run tag: a Progress."""
RESULT_TAG = "churnops.dev/result"
"""MLflow run tag: the result, should the pod be gone before it was read."""

Metrics = Annotated[dict[str, float], Field(max_length=32)]


class Progress(Model):
    """How far a Job is."""

    percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Share of the work that is done, 0 to 100."""
    step: Annotated[str, Field(max_length=32)] = ""
    """What it is doing: read, split, search, fit, evaluate, convert, register."""
    eta_seconds: Annotated[int, Field(ge=0)] | None = None
    """Seconds still to go, guessed from the steps so far."""
    metric: float | None = None
    """The training metric of the best candidate so far."""


class GoldenVariant(Model):
    """A customer that differs from the typical one, and what the model answers for it."""

    changes: FreeForm
    """The columns that differ."""
    probability: Annotated[float, Field(ge=0, le=1)]
    """The probability of churn that scikit-learn gave."""


class Golden(Model):
    """Made-up customers and what the model answers for them: proof that a server serves this model."""

    instance: FreeForm
    """A typical one: medians and most frequent categories of the training rows; nobody's data."""
    probability: Annotated[float, Field(ge=0, le=1)]
    """The probability of churn that scikit-learn gave."""
    variants: Annotated[tuple[GoldenVariant, ...], Field(max_length=8)] = ()
    """More of them, whose probabilities lie apart. None in a result of before there were any."""

    @property
    def rows(self) -> tuple[tuple[Mapping[str, JsonValue], float], ...]:
        """Each customer whole, with the probability."""
        typical = (self.instance, self.probability)
        return (typical, *(({**self.instance, **each.changes}, each.probability) for each in self.variants))


class ModelRef(Model):
    """A trained model's files in the object store."""

    uri: Uri
    """Folder that holds manifest.json and the files it lists; its last segment is the digest's hex."""
    digest: Digest
    """SHA-256 of manifest.json, which names every file's own."""


class ProbeTask(Model):
    """Find out which state a source is in."""

    kind: Literal["Probe"] = "Probe"
    source: DataSource


class ProbeResult(Model):
    """The state that a source is in."""

    outcome: Literal["Probed"] = "Probed"
    revision: Revision


class ChampionRef(Model):
    """The version to beat."""

    version: Word
    """For example v3."""
    model: ModelRef
    """Its files."""


class Comparison(Model):
    """A comparison that a gate asks for."""

    metric: Metric
    """What is compared."""
    confidence: Confidence
    """One-sided confidence of the bound."""


class ComparisonResult(Comparison):
    """Challenger against champion on the same held-out rows."""

    challenger: float
    """The challenger's value."""
    champion: float
    """The champion's value."""
    lower_bound: float
    """Lower confidence bound of the improvement; positive is better, whatever the metric's direction."""
    rows: Annotated[int, Field(ge=1)]
    """Held-out rows that both were asked about."""
    unseen: bool
    """Whether the champion was trained on none of these rows. Where that cannot be told it is false, and the champion
    is favoured."""


class Candidate(Model):
    """A version of the registered model that is judged as it is: nothing is trained."""

    registry_version: Annotated[str, Field(max_length=19, pattern=r"^[1-9][0-9]*$")]
    """Its number in MLflow's registry."""


class TrainTask(Model):
    """Train, evaluate and register one challenger, or evaluate one that is registered."""

    kind: Literal["Train"] = "Train"
    """Which task this is."""
    namespace: Name
    """Where the ChurnModel lives."""
    model: Name
    """The ChurnModel."""
    run: Name
    """The TrainingRun."""
    uid: Annotated[str, Field(max_length=64)]
    """The TrainingRun's UID: a Job looks for a run that carries it before it makes one."""
    trigger: Word
    """Why the run was opened, for lineage."""
    reason: Text = ""
    """The same for people."""
    owner: Annotated[str, Field(max_length=256)]
    """Whose the registered model is."""
    image: Annotated[str, Field(max_length=512)] = ""
    """The image the Job runs, for lineage."""
    data: DataSpec
    """What to learn from."""
    revision: Revision | None = None
    """The state to read; absent, the present one is pinned."""
    training: TrainingSpec
    """How to train."""
    tracking_uri: Uri
    """MLflow's address."""
    experiment: Annotated[str, Field(max_length=256)]
    """MLflow experiment."""
    registered_model: Annotated[str, Field(max_length=256)]
    """MLflow registered model."""
    storage_uri: Uri
    """Folder in the object store under which model files and snapshots are kept (s3://…, or a path on a laptop)."""
    candidate: Candidate | None = None
    """The registered version to judge; absent where one is trained."""
    champion: ChampionRef | None = None
    """The version to beat; absent while none serves."""
    comparisons: Annotated[tuple[Comparison, ...], Field(max_length=32)] = ()
    """What the gates want to know of the two."""


class TrainResult(Model):
    """A challenger, measured."""

    outcome: Literal["Trained"] = "Trained"
    """What came of it."""
    data: DataRead
    """The rows it learned from; of a registered version, those it was judged by."""
    estimator: Word
    """The candidate that was kept."""
    metrics: Metrics
    """Of the challenger on the held-out rows; `parity` is the largest difference between the ONNX model's
    probabilities and scikit-learn's over them, or, of a registered version, for its golden request."""
    threshold: Annotated[float, Field(ge=0, le=1)]
    """Probability at or above which a customer is called a churner."""
    comparisons: Annotated[tuple[ComparisonResult, ...], Field(max_length=32)] = ()
    """Beside the champion."""
    scores: ScoreCounts | None = None
    """How the probabilities of the held-out rows are spread: counts of 20 equal bins from 0 to 1. What clients get is
    compared with it. Absent in a result of before they were counted."""
    model: ModelRef
    """The challenger's files."""
    registry_version: Word
    """Version of the registered model in MLflow."""
    run_id: Word
    """The MLflow run."""
    experiment_id: Word
    """The MLflow experiment."""
    golden: Golden
    """A request whose answer is known."""


class ColumnTests(Model):
    """Which statistical distance each kind of column is judged by; Evidently's names."""

    numerical: Literal["wasserstein", "psi", "kl_div", "jensenshannon"] = "wasserstein"
    """For numbers: a normed distance, or a divergence of histograms."""
    categorical: Literal["jensenshannon", "psi", "kl_div"] = "jensenshannon"
    """For categories."""
    threshold: Annotated[float, Field(gt=0, le=10)] = 0.1
    """A column has drifted when its distance is at least this."""


class LoggedRows(Model):
    """Rows of the inference log: what a version was asked by clients, and what it answered."""

    uri: Uri
    """The log's folder."""
    since: Time
    """From this moment on."""
    until: Time
    """Up to this moment, which is not in it."""
    min_rows: Annotated[int, Field(ge=1)]
    """Fewer are not judged."""


class DriftTask(Model):
    """Compare a window of current rows with what the champion was trained on."""

    kind: Literal["Drift"] = "Drift"
    namespace: Name
    churn_model: Name
    """The ChurnModel."""
    monitor: Name
    uid: Annotated[str, Field(max_length=64)]
    """The DriftMonitor's UID."""
    version: Word
    """The champion, for example v3."""
    model: ModelRef
    """Its files, which hold the reference profile."""
    source: DataSource | None = None
    """Where the current rows are; absent where they are logged predictions."""
    predictions: LoggedRows | None = None
    """Which logged predictions are the current rows; absent where they are in a source."""
    last_revision: Revision | None = None
    """The window that was judged last; the same again is not judged twice."""
    tests: ColumnTests
    tracking_uri: Uri
    experiment: Annotated[str, Field(max_length=256)]


class ColumnDrift(Model):
    """One column's distance from the reference."""

    name: Column
    """The column."""
    kind: Literal["Feature", "Prediction"] = "Feature"
    """Feature: what a model is asked by. Prediction: what it answers, compared with its answers on held-out rows; it is
    no part of the share."""
    score: float
    """Its distance, by the test of its kind."""
    drifted: bool
    """Whether the distance reaches the threshold."""


class Window(Model):
    """The rows that were compared."""

    uri: Uri
    """Where they were read."""
    revision: Revision
    """The state of the source that was read."""
    rows: Annotated[int, Field(ge=0)] = 0
    """How many there were."""
    since: Time | None = None
    """When the first of them could have come; absent for a source's."""
    until: Time | None = None
    """When the last of them could have come; absent for a source's."""


class DriftResult(Model):
    """How far the window is from the reference."""

    outcome: Literal["Compared", "Unchanged", "TooFew"]
    """Unchanged: the window is the one judged last, nothing was computed. TooFew: it has fewer rows than are judged."""
    window: Window
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the features that drifted."""
    columns: Annotated[tuple[ColumnDrift, ...], Field(max_length=17)] = ()
    """The features, farthest first, no more than 16; after them the predictions, where these were logged."""
    features: Annotated[int, Field(ge=0)] = 0
    """How many features were compared."""
    run_id: Word | None = None
    experiment_id: Word | None = None
    report: Annotated[str, Field(max_length=256)] | None = None
    """Path of the HTML report among the MLflow run's artifacts."""


class ShadowTask(Model):
    """Ask a challenger what clients asked the champion, and compare the answers."""

    kind: Literal["Shadow"] = "Shadow"
    """Which task this is."""
    namespace: Name
    """Where the ChurnModel lives."""
    churn_model: Name
    """The ChurnModel."""
    champion: ChampionRef
    """The version whose requests were logged."""
    version: Word
    """The challenger, for example v4."""
    url: Uri
    """Where the challenger answers (V1)."""
    log: LoggedRows
    """Which of the champion's logged requests there are to choose from."""
    requests: Annotated[int, Field(ge=1)]
    """So many of their rows are sent, each in a request of its own."""
    requests_per_second: Annotated[int, Field(ge=1)]
    """No more than these in a second."""
    p95_milliseconds: Annotated[int, Field(ge=1)]
    """An answer that takes longer is slow."""


class Latency(Model):
    """How long answers took, in milliseconds, as who asked saw it."""

    p50: Annotated[float, Field(ge=0)]
    """Half of them took no longer."""
    p95: Annotated[float, Field(ge=0)]
    """95 % took no longer."""
    p99: Annotated[float, Field(ge=0)]
    """99 % took no longer."""


class ShadowResult(Model):
    """What the challenger answered to the champion's requests."""

    outcome: Literal["Replayed", "TooFew"]
    """TooFew: the log holds fewer rows than are judged, and nothing was sent."""
    logged: Annotated[int, Field(ge=0)]
    """Rows that clients asked the champion about, in the days that were looked at."""
    requests: Annotated[int, Field(ge=0)] = 0
    """Sent, each with one of these rows."""
    errors: Annotated[int, Field(ge=0)] = 0
    """Not answered with a prediction."""
    refused: Annotated[int, Field(ge=0)] = 0
    """Those of them that the challenger refused, where the champion had not."""
    slow: Annotated[int, Field(ge=0)] = 0
    """Answered later than serving.slo promises."""
    compared: Annotated[int, Field(ge=0)] = 0
    """Answers that were compared with the champion's; 0 where the log holds no values of personal columns."""
    changed: Annotated[int, Field(ge=0)] = 0
    """Those of them whose decision, each version at its own threshold, is not the champion's."""
    agreement: Share | None = None
    """Share of the decisions that are the champion's."""
    correlation: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Of the two probabilities' ranks (Spearman). Absent where one version gives all rows the same."""
    difference: Share | None = None
    """Mean absolute difference of the two probabilities."""
    latency: Latency | None = None
    """Absent where nothing was answered."""
    scores: ScoreCounts | None = None
    """The challenger's probabilities, in twenty equal bins; absent where nothing was compared."""
    hidden: Annotated[tuple[Column, ...], Field(max_length=8)] = ()
    """Columns that were sent empty: personal data, of which the log holds no values. The first eight."""
    problem: Annotated[str, Field(max_length=256)] = ""
    """What the first error was."""


class LabelsTask(Model):
    """Count how many decisions of two versions were wrong, as far as it is known by now."""

    kind: Literal["Labels"] = "Labels"
    """Which task this is."""
    namespace: Name
    """Where the ChurnModel lives."""
    churn_model: Name
    """The ChurnModel."""
    champion: ChampionRef
    """The version beside which the other is judged."""
    challenger: ChampionRef
    """The other."""
    log: LoggedRows
    """Which of their logged predictions count."""
    source: DataSource
    """Where the labels are."""


class Labelled(Model):
    """What is known of a version's decisions."""

    version: Word
    """The version."""
    predictions: Annotated[int, Field(ge=0)] = 0
    """Rows that clients asked it about."""
    customers: Annotated[int, Field(ge=0)] = 0
    """Different identifiers among them. The first prediction of each counts."""
    labelled: Annotated[int, Field(ge=0)] = 0
    """Those of them whose label has come."""
    wrong: Annotated[int, Field(ge=0)] = 0
    """Those of these that were decided otherwise, at the version's own threshold."""


class LabelsResult(Model):
    """What is known of the decisions of two versions."""

    outcome: Literal["Joined"] = "Joined"
    """What came of it."""
    champion: Labelled
    """The version beside which the other is judged."""
    challenger: Labelled
    """The other."""
    contradicted: Annotated[int, Field(ge=0)] = 0
    """Customers left out, because the table has several different labels of them."""
    revision: Revision
    """The state of the table that was read."""


class JobFailure(Model):
    """Why a Job gave up."""

    outcome: Literal["Failed"] = "Failed"
    reason: Word
    """A DataReason, or one of the reasons of a Job."""
    message: Annotated[str, Field(max_length=1024)]
    """What was wrong, naming the column and the count."""
    revision: Revision | None = None
    """The state of the data that was read, where it came to that."""


class FetchTask(Model):
    """Bring a model's files and check them against their digests."""

    model: ModelRef
    destination: Annotated[str, Field(max_length=1024)]


class Resolved(Model):
    """What a run was given, frozen when it started: later edits of the ChurnModel do not reach it."""

    task: TrainTask
    """The task, to the letter."""
    spec_digest: Digest
    """Digest of the ChurnModel's data, training and gates."""
    model_uid: Annotated[str, Field(max_length=64)] | None = None
    """The ChurnModel's UID: one that is made anew under the name of one that was deleted is another."""
    at: Time
    """When it was frozen."""
