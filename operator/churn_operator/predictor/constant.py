"""What answers while a champion cannot: one probability for every row, whatever its columns. It needs no file."""

from collections.abc import Sequence

from churn_operator.api.contract import Contract
from churn_operator.predictor.backend import Backend
from churn_operator.predictor.request import RowReader, Rows, Where, check_row
from churn_operator.predictor.tensors import TensorReader

THRESHOLD = 0.5
"""The champion's own is among its files."""
ANY_COLUMNS = Contract.model_construct(features=())
"""Of no table: the one contract without a feature, which no file may hold."""


class AnyRows(RowReader):
    """Rows of any columns."""

    def _rows(self, given: Sequence[object], where: Where, *, complete: bool) -> Rows:  # noqa: ARG002 - the reader's own
        for position, each in enumerate(given):
            check_row(each, where(position, None))
        return Rows([[] for _ in given], [[] for _ in given])


class AnyTensors(TensorReader):
    """Tensors of any name."""

    def _is_known(self, name: str) -> bool:  # noqa: ARG002 - the reader's own
        return True


def constant(probability: float) -> Backend:
    return Backend(
        platform="constant",
        contract=ANY_COLUMNS,
        rows=AnyRows(ANY_COLUMNS),
        tensors=AnyTensors(ANY_COLUMNS),
        score=lambda rows: [probability] * len(rows.numbers),
        threshold=THRESHOLD,
    )
