"""The scikit-learn pipelines, and the settings that a search tries for each.

Each takes rows with a contract's numerical columns first and its categorical columns after, by position. Trees get
their numbers unscaled: float32 rounds a scaled threshold to the other side of a row, and ONNX probabilities then
differ from scikit-learn's by up to 0.03.
"""

from collections.abc import Iterator
from typing import Any

from sklearn.base import ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from churn_operator.api.contract import Contract
from churn_operator.api.reasons import Reason
from churn_operator.api.training import Estimator, EstimatorName, Search
from churn_operator.storage.failure import Refused

SEED = 0
"""Of the estimators: the same rows give the same model."""


def build(contract: Contract, name: EstimatorName, params: dict[str, Any]) -> Pipeline:
    """The unfitted pipeline.

    Raises:
        Refused: the classifier has no such parameter.
    """
    defaults, numbers, categories = _parts(name)
    try:
        classifier = _CLASSIFIERS[name](**{**defaults, **params})
    except TypeError as error:
        raise Refused(Reason.ParamsRefused, f"estimator {name} refuses its params: {error}") from error
    width = len(contract.numerical)
    columns = list(range(len(contract.features)))
    parts = [("numbers", numbers, columns[:width]), ("categories", categories, columns[width:])]
    return Pipeline([("columns", ColumnTransformer([p for p in parts if p[2]])), ("classifier", classifier)])


_CLASSIFIERS: dict[EstimatorName, type[ClassifierMixin]] = {
    "LogisticRegression": LogisticRegression,
    "HistGradientBoosting": HistGradientBoostingClassifier,
    "RandomForest": RandomForestClassifier,
}


def _parts(name: EstimatorName) -> tuple[dict[str, Any], Any, Any]:
    """Parameters unless the spec has others, what becomes of numbers, and what of categories."""
    median = SimpleImputer(strategy="median", keep_empty_features=True)
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    match name:
        case "LogisticRegression":
            one_hot = OneHotEncoder(handle_unknown="ignore")
            return {"max_iter": 1000}, make_pipeline(median, StandardScaler()), one_hot
        case "HistGradientBoosting":
            return {"random_state": SEED}, "passthrough", codes
        case "RandomForest":
            # single rows in a leaf make probabilities of 0 and 1
            return (
                {"n_estimators": 300, "min_samples_leaf": 5, "random_state": SEED, "n_jobs": -1},
                median,
                codes,
            )


def settings(estimator: Estimator, search: Search | None) -> Iterator[dict[str, Any]]:
    """The parameters to try: the plain ones, then, with a search, draws from the estimator's space.

    A parameter that the spec sets is never varied.
    """
    yield dict(estimator.params)
    if search is None or search.trials == 1:
        return
    from sklearn.model_selection import ParameterSampler

    space = {key: values for key, values in _space(estimator.name).items() if key not in estimator.params}
    if not space:
        return
    for drawn in ParameterSampler(space, n_iter=search.trials - 1, random_state=search.seed):
        yield {**estimator.params, **{k: v.item() if hasattr(v, "item") else v for k, v in drawn.items()}}


def _space(name: EstimatorName) -> dict[str, Any]:
    from scipy.stats import loguniform, randint, uniform

    match name:
        case "LogisticRegression":
            return {"C": loguniform(1e-3, 1e2)}
        case "HistGradientBoosting":
            return {
                "learning_rate": loguniform(0.02, 0.3),
                "max_iter": randint(50, 301),
                "max_leaf_nodes": randint(4, 64),
                "min_samples_leaf": randint(10, 101),
                "l2_regularization": loguniform(1e-3, 1e1),
            }
        case "RandomForest":
            return {
                "max_features": uniform(0.1, 0.7),
                "min_samples_leaf": randint(2, 31),
                "max_depth": randint(4, 21),
            }
