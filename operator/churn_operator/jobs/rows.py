"""From a table to rows that can be learned from: clean features, the truth, and the hold-out."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn_operator.api.contract import Contract
from churn_operator.api.data import DataSpec
from churn_operator.api.reasons import Reason
from churn_operator.jobs import data, frame, split, target
from churn_operator.storage.failure import Refused

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Rows:
    """The table, ready to learn from."""

    table: pd.DataFrame
    """As it was read, without rows that have no target."""
    frame: pd.DataFrame
    """Clean features: numerical columns first."""
    truth: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    split_by: tuple[str, ...]
    contract: Contract
    positive_label: str
    dropped: int
    """Rows that had no target."""


def prepare(content: data.Content, spec: DataSpec) -> Rows:
    """The table's features, target and hold-out.

    Raises:
        Refused: it cannot be learned from.
    """
    table = data.table(content, (spec.id_column,) if spec.id_column else ())
    if table.empty:
        raise Refused(Reason.DataEmpty, f"{content.uri} has no rows")
    names = frame.candidates(table, spec)
    labels = target.labels(table[spec.target])
    kept = labels.notna().to_numpy()
    dropped = int((~kept).sum())
    table, labels = table[kept].reset_index(drop=True), labels[kept].reset_index(drop=True)
    truth, label = target.encode(labels, spec)
    columns = [(name, frame.clean(table[name])) for name in names]
    clean = pd.DataFrame(dict(sorted(columns, key=lambda column: column[1].dtype != np.float32)))
    if spec.id_column:
        split_by: tuple[str, ...] = (spec.id_column,)
        held_out = split.held_out(split.identifiers(table[spec.id_column]).to_frame(), split_by)
    else:
        split_by = tuple(names)
        held_out = split.held_out(clean, split_by)
    _check_split(truth, held_out)
    log.info(
        "%d rows, %d without target, %d held out, %d features, %.1f %% are %r",
        len(table) + dropped,
        dropped,
        held_out.sum(),
        len(names),
        100 * truth.mean(),
        label,
    )
    contract = frame.infer(clean[~held_out][names]).model_copy(
        update={"id_column": spec.id_column, "personal": spec.pii}
    )
    return Rows(table, clean, truth, held_out, split_by, contract, label, dropped)


def _check_split(truth: NDArray[np.int64], held_out: NDArray[np.bool_]) -> None:
    for part, name in ((held_out, "held-out"), (~held_out, "training")):
        if len(np.unique(truth[part])) < 2:
            raise Refused(
                Reason.DataEmpty, f"the {int(part.sum())} {name} rows do not hold both classes: more rows are needed"
            )
