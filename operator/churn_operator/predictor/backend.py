"""What stands between a request and its answer, whatever carried it."""

from collections.abc import Callable
from typing import NamedTuple

from churn_operator.api.contract import Contract
from churn_operator.predictor.request import RowReader, Rows
from churn_operator.predictor.tensors import TensorReader


class Backend(NamedTuple):
    """A model that is ready to score, or what answers in the place of one."""

    platform: str
    """What V2's metadata calls it."""
    contract: Contract
    rows: RowReader
    tensors: TensorReader
    score: Callable[[Rows], list[float]]
    """The probability of churn of each row."""
    threshold: float
    """Probability at or above which a customer is called a churner."""
