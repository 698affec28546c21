"""Which rows no model is trained on: a pure function of the row, so that no later table moves it.

A row is held out when the hash of its identifier, else of its values, falls into the lowest fifth. A customer whose
values change between two tables is a new row; an id column keeps all of a customer's rows on one side.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn_operator.jobs.frame import as_text

HOLDOUT_SHARE = 0.2
_BOUND = int(HOLDOUT_SHARE * 2**64)


def held_out(frame: pd.DataFrame, by: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each row of clean columns is held out, by the columns named.

    Columns count by name, not by position; numbers count as float32, so that 29.85 read from csv and from a float32
    column of parquet are one value.
    """
    names = sorted(by)
    numeric = [n for n in names if frame[n].dtype == np.float32]
    textual = [n for n in names if n not in numeric]
    numbers = frame[numeric].to_numpy(dtype="<f4") + np.float32(0)  # -0.0 becomes 0.0
    numbers[np.isnan(numbers)] = np.nan  # one bit pattern for every NaN
    texts = ["\x1f".join(row) for row in frame[textual].to_numpy(dtype=str).tolist()] if textual else [""] * len(frame)
    prefix = "\x1f".join((*numeric, "", *textual)).encode()
    return np.fromiter(
        (_hash(prefix, row.tobytes(), text.encode()) < _BOUND for row, text in zip(numbers, texts, strict=True)),
        dtype=np.bool_,
        count=len(frame),
    )


def identifiers(column: pd.Series) -> pd.Series:
    """An id column as text: 12 read as integer, as 12.0 beside nulls and as "12" are one customer."""
    return column.map(as_text, na_action="ignore").fillna("").astype(object)


def _hash(*parts: bytes) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
        digest.update(b"\x1e")
    return int.from_bytes(digest.digest(), "big")
