"""What a model expects of a row, and what its folder holds: written by training, read by the predictor and by drift.

A model is one ONNX file with at most two inputs: NUMBERS, float32 of shape (rows, numerical features), and CATEGORIES,
strings of shape (rows, categorical features), each in the contract's order and absent where the contract has no such
feature. Its output PROBABILITIES is float32 of shape (rows, 2); column 1 is the probability of churn.
"""

import math
from typing import Annotated, Literal

from pydantic import Field

from churn_operator.api.base import Column, Digest, Model, Word
from churn_operator.api.data import PersonalData

NUMBERS = "numbers"
"""Name of the ONNX input that takes the numerical features."""
CATEGORIES = "categories"
"""Name of the ONNX input that takes the categorical features."""
PROBABILITIES = "probabilities"
"""Name of the ONNX output."""
MISSING = ""
"""What stands for a missing category; a missing number is NaN."""
MISSING_WORDS = frozenset({"NA", "N/A", "NaN", "nan", "null", "NULL"})
"""Text that means a missing value, in a table and in a request alike. "None" is none: tables use it as a category."""
MAX_CATEGORIES = 1000
"""A column of text with more is refused."""
FLOAT32_MAX = 3.4028234663852886e38

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
CONTRACT_FILE = "contract.json"
PROFILE_FILE = "profile.json"
GOLDEN_FILE = "golden.json"


class Feature(Model):
    """One column that the model uses."""

    name: Column
    """The column, as the table of training rows and a request call it."""
    kind: Literal["Numerical", "Categorical"]
    """Numerical: numbers and booleans. Categorical: text."""
    categories: Annotated[tuple[str, ...], Field(max_length=MAX_CATEGORIES)] = ()
    """The categories seen in training, sorted; any other is scored as unknown."""
    minimum: float | None = None
    """The smallest number seen in training; smaller ones are scored all the same."""
    maximum: float | None = None
    """The largest number seen in training."""
    null_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the training rows without a value."""


class Contract(Model):
    """The columns a model uses, in the order of its inputs."""

    features: Annotated[tuple[Feature, ...], Field(min_length=1)]
    id_column: Column | None = None
    """A customer's identifier: a request may name it, so that the inference log holds it. It is never scored."""
    personal: tuple[PersonalData, ...] = ()
    """What the inference log drops or hashes before it keeps anything."""

    @property
    def numerical(self) -> tuple[Feature, ...]:
        """The columns of NUMBERS."""
        return tuple(f for f in self.features if f.kind == "Numerical")

    @property
    def categorical(self) -> tuple[Feature, ...]:
        """The columns of CATEGORIES."""
        return tuple(f for f in self.features if f.kind == "Categorical")


class Manifest(Model):
    """The files of a model. Its own SHA-256 is the model's digest, and the hex of that is the folder's name."""

    format: Literal[1] = 1
    estimator: Word
    """The scikit-learn classifier."""
    threshold: Annotated[float, Field(ge=0, le=1)]
    """Probability at or above which a customer is called a churner."""
    target: Column
    """The column that was predicted."""
    positive_label: Word
    """The target's value that means churn."""
    features: tuple[Column, ...]
    """The names of the contract's features, in its order."""
    split_by: tuple[Column, ...]
    """The columns whose hash decides which rows no model is trained on."""
    files: dict[str, Digest]
    """SHA-256 of every other file of the folder, by name."""


def as_number(value: object) -> float:
    """A JSON value as the model takes it: NaN for a missing one; text that reads as a number counts as one.

    Raises:
        ValueError: it is no number, or none that float32 holds.
    """
    match value:
        case None:
            return math.nan
        case bool() | int() | float():
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
        case str():
            number = float(value) if as_category(value) != MISSING else math.nan
        case _:
            raise ValueError("must be a number")
    if math.isinf(number) or abs(number) > FLOAT32_MAX:
        raise ValueError("must be a number between -3.4e38 and 3.4e38")
    return number


def as_category(value: object) -> str:
    """A JSON value as the model takes it: MISSING for a missing one, surrounding blanks cut off.

    Raises:
        ValueError: it is no text.
    """
    match value:
        case None:
            return MISSING
        case str():
            text = value.strip()
            return MISSING if text in MISSING_WORDS else text
        case _:
            raise ValueError("must be text")
