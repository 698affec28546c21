"""How a model is trained and what it must show before it may serve."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from churn_operator.api.base import FreeForm, Model, Name, Resources, map_list, rules

Metric = Literal[
    "roc_auc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "precision",
    "recall",
    "log_loss",
    "brier_score",
    "expected_calibration_error",
]
"""Metrics of a probability forecast; scikit-learn's names where it has one."""

LOWER_IS_BETTER: frozenset[Metric] = frozenset({"log_loss", "brier_score", "expected_calibration_error"})

Confidence = Annotated[
    float,
    Field(ge=0.5, le=0.999),
    # A rule of its own: the API server prints a bound that is no whole number as the whole number below.
    WithJsonSchema(
        {"type": "number"} | rules(("self >= 0.5 && self <= 0.999", "confidence must lie between 0.5 and 0.999"))
    ),
]

EstimatorName = Literal["LogisticRegression", "HistGradientBoosting", "RandomForest"]


class Estimator(Model):
    """One candidate; the best by cross-validation is kept."""

    name: EstimatorName
    """The scikit-learn classifier."""
    params: FreeForm = {}
    """Its hyper-parameters, by scikit-learn's names."""


class CrossValidation(Model):
    """Stratified k-fold over the training rows."""

    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Number of folds."""


class Search(Model):
    """Random search over a space of its own for each estimator."""

    trials: Annotated[int, Field(ge=1, le=500)] = 10
    """Settings tried for each estimator, the plain one included."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the search: the same seed tries the same settings."""


class TrainingSpec(Model):
    """How candidates are fitted and chosen."""

    metric: Metric = "roc_auc"
    """Decides between candidates."""
    estimators: Annotated[
        tuple[Estimator, ...], Field(min_length=1, max_length=8, json_schema_extra=map_list("name"))
    ] = (Estimator(name="LogisticRegression"), Estimator(name="HistGradientBoosting"))
    """Candidates."""
    cross_validation: CrossValidation = CrossValidation()
    """How candidates are compared on the training rows."""
    search: Search | None = None
    """Absent: the estimators' parameters are taken as they stand."""
    resources: Resources = Resources(requests={"cpu": "500m", "memory": "512Mi"}, limits={"memory": "2Gi"})
    """Of the training container."""
    active_deadline_seconds: Annotated[int, Field(ge=60, le=604800)] = 86400
    """A run that takes longer is ended."""


class ChampionGate(Model):
    """The challenger against the champion, on rows that neither has seen."""

    metric: Metric = "roc_auc"
    """Compared metric."""
    min_improvement: Annotated[float, Field(ge=-1, le=1)] = -0.005
    """The lower confidence bound of challenger minus champion (turned round where lower is better) must be at least
    this: below zero asks that it is not worse by more, above zero that it is better."""
    confidence: Confidence = 0.95
    """One-sided confidence of that bound, by a paired bootstrap over the held-out rows."""


class Gate(Model):
    """One condition for acceptance: a metric within bounds on the held-out rows, or a comparison with the champion."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.metric) != has(self.champion)", "exactly one of metric and champion is required"),
            ("!has(self.metric) || has(self.min) || has(self.max)", "a metric needs min, max or both"),
            ("has(self.metric) || (!has(self.min) && !has(self.max))", "min and max belong to metric"),
            ("!has(self.min) || !has(self.max) || self.min <= self.max", "min must not exceed max"),
            (
                (
                    "!has(self.metric) || self.metric == 'log_loss' || "
                    "[has(self.min) ? self.min : 0.0, has(self.max) ? self.max : 1.0].all(b, b >= 0.0 && b <= 1.0)"
                ),
                "min and max must lie between 0 and 1 for every metric but log_loss",
            ),
        )
    )

    name: Name
    """What the verdict calls it."""
    metric: Metric | None = None
    """Measured on the held-out rows."""
    min: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    """Lowest accepted value."""
    max: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    """Highest accepted value."""
    champion: ChampionGate | None = None
    """Compare with the version that serves; not applicable while there is none."""


Gates = Annotated[tuple[Gate, ...], Field(max_length=32, json_schema_extra=map_list("name"))]
DEFAULT_GATES: Gates = (Gate(name="champion", champion=ChampionGate()),)
