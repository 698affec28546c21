"""From a table as people keep it to the columns of a contract.

A clean column is float32 (missing: NaN) or text (missing: MISSING). float32 is what the model reads, so that
scikit-learn is fitted on exactly the numbers that it will be asked about.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn_operator.api.contract import (
    FLOAT32_MAX,
    MAX_CATEGORIES,
    MISSING,
    Contract,
    Feature,
    as_category,
    as_number,
)
from churn_operator.api.data import DataSpec
from churn_operator.api.reasons import Reason
from churn_operator.storage.failure import Refused

Vector = NDArray[Any]

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?$")
_MOSTLY = 0.5
"""From this share of numbers on, text among them is taken for a mistake, not for a category."""


def candidates(table: pd.DataFrame, spec: DataSpec) -> list[str]:
    """The columns that may become features: those with a name, but for target, id, excluded and dropped ones.

    Raises:
        Refused: a column of the spec is not in the table, one is that must not be, or none is left.
    """
    named = [str(name) for name in table.columns if not str(name).startswith("Unnamed: ")]
    if spec.target not in named:
        raise Refused(Reason.TargetMissing, f"there is no target column {spec.target!r} among {_listing(named)}")
    asked = (*((spec.id_column,) if spec.id_column else ()), *spec.exclude)
    if missing := [name for name in asked if name not in named]:
        raise Refused(Reason.ColumnMissing, f"there is no column {_listing(missing)} among {_listing(named)}")
    if personal := [p.column for p in spec.pii if p.action == "Fail" and p.column in named]:
        raise Refused(
            Reason.DataPersonal, f"there is a column {_listing(personal)}, which data.pii says must not be there"
        )
    dropped = {p.column for p in spec.pii if p.action == "Drop"}
    left = [name for name in named if name not in {spec.target, *asked, *dropped}]
    if not left:
        raise Refused(Reason.NoFeatures, f"no column is left to learn from but {_listing(named)}")
    return left


def clean(column: pd.Series) -> pd.Series:
    """The column as float32 or as text.

    Raises:
        Refused: it holds nothing, or values that no feature can be made of.
    """
    name = column.name
    missing = int(column.isna().sum())
    if missing == len(column):
        raise Refused(Reason.ColumnEmpty, f"column {name!r} has no value in any of {len(column)} rows")
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        if np.issubdtype(column.to_numpy().dtype, np.complexfloating):
            raise _mixed(name, len(column) - missing, "complex numbers", "")
        return _float32(column.to_numpy(dtype=np.float64, na_value=np.nan), column)
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or pd.api.types.is_timedelta64_dtype(column.dtype):
        raise _mixed(name, len(column) - missing, "dates", _dates_hint(name))
    return _clean_objects(column)


def _clean_objects(column: pd.Series) -> pd.Series:
    """The column whose cells are Python objects: text, booleans with gaps, decimals."""
    codes, values = distinct(column)
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    kinds = {type(value) for value in values}
    if str not in kinds:
        numbers = np.array([_number(value) for value in values])
        if lost := int(counts[np.isnan(numbers)].sum()):
            raise _mixed(column.name, lost, f"values of type {_listing(sorted(k.__name__ for k in kinds))}", "")
        return _float32(np.append(numbers, np.nan)[codes], column)
    if kinds != {str}:
        lost = sum(count for value, count in zip(values, counts, strict=True) if not isinstance(value, str))
        others = _listing(sorted(k.__name__ for k in kinds - {str}))
        raise _mixed(column.name, lost, f"values of type {others} among text", "")
    return _clean_text(column, codes, [as_category(value) for value in values], counts)


def _clean_text(column: pd.Series, codes: Vector, texts: list[str], counts: Vector) -> pd.Series:
    """The column whose cells are text, or would be, had a number not been written down as text."""
    given = np.array([text != MISSING for text in texts])
    numbers = np.array([_number(text) for text in texts])
    total, numeric = int(counts[given].sum()), int(counts[~np.isnan(numbers)].sum())
    if total == 0:
        raise Refused(Reason.ColumnEmpty, f"column {column.name!r} has no value in any of {len(column)} rows")
    if numeric == total:
        return _float32(np.append(numbers, np.nan)[codes], column)
    categories = {text for text in texts if text != MISSING}
    if all(_DATE.match(text) for text in categories):
        raise _mixed(column.name, total, "dates", _dates_hint(column.name))
    if len(categories) > MAX_CATEGORIES:
        if numeric >= _MOSTLY * total:
            sample = next(text for text in texts if text != MISSING and np.isnan(_number(text)))
            raise _mixed(column.name, total - numeric, f"values among {numeric} numbers, such as {sample!r}, that", "")
        raise Refused(
            Reason.TooManyCategories,
            f"column {column.name!r} has {len(categories)} categories, {MAX_CATEGORIES} are allowed: "
            "name it as idColumn or under exclude, or group its values",
        )
    return _text(column, codes, texts)


def distinct(column: pd.Series) -> tuple[Vector, list[Any]]:
    """For each row the position of its value among the different ones, -1 for a missing one; and those values."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    try:
        codes, values = pd.factorize(column)
    except TypeError:  # lists and the like, which have no hash
        present = column.notna().to_numpy()
        codes, values = np.where(present, present.cumsum() - 1, -1), column[present].array
    return codes, list(values)


def _number(value: Any) -> float:
    """The value as a request's would be read; NaN where it is no number."""
    if isinstance(value, np.generic):
        value = value.item()
    try:
        return as_number(float(value) if isinstance(value, Decimal) else value)
    except ValueError:
        return np.nan


def _text(column: pd.Series, codes: Vector, texts: list[str]) -> pd.Series:
    return pd.Series(np.array([*texts, MISSING], dtype=object)[codes], index=column.index, name=column.name)


def _float32(numbers: Vector, column: pd.Series) -> pd.Series:
    bounded = _bounded(numbers)
    if np.isnan(bounded).all():
        raise Refused(Reason.ColumnEmpty, f"column {column.name!r} has no finite number in any of {len(column)} rows")
    return pd.Series(bounded, index=column.index, name=column.name)


def _bounded(numbers: Vector) -> Vector:
    """Numbers that float32 cannot hold count as missing."""
    return np.where(np.abs(numbers) <= FLOAT32_MAX, numbers, np.nan).astype(np.float32)


def infer(frame: pd.DataFrame) -> Contract:
    """The contract of clean columns, with what the rows given hold."""
    return Contract(features=tuple(_feature(frame[name]) for name in frame.columns))


def _feature(column: pd.Series) -> Feature:
    name = str(column.name)
    if column.dtype == np.float32:
        low, high = (float(v) for v in (column.min(), column.max()))
        seen = not column.isna().all()
        return Feature(
            name=name,
            kind="Numerical",
            minimum=low if seen else None,
            maximum=high if seen else None,
            null_share=float(column.isna().mean()),
        )
    categories = sorted(set(column) - {MISSING})
    return Feature(
        name=name, kind="Categorical", categories=tuple(categories), null_share=float((column == MISSING).mean())
    )


def conform(table: pd.DataFrame, contract: Contract) -> tuple[pd.DataFrame, list[str]]:
    """The table's rows as the contract has them, and what had to be bent.

    A column that is not there, and a value that is not of its kind, count as missing: a model that serves would have
    to answer the same.
    """
    columns, notes = {}, []
    for feature in contract.features:
        if feature.name not in table.columns:
            empty = np.nan if feature.kind == "Numerical" else MISSING
            dtype = np.float32 if feature.kind == "Numerical" else object
            columns[feature.name] = pd.Series(empty, index=table.index, dtype=dtype)
            notes.append(f"column {feature.name!r} is missing")
            continue
        column, lost = _conform(table[feature.name], feature)
        columns[feature.name] = column
        if lost:
            kind = "number" if feature.kind == "Numerical" else "text"
            notes.append(f"column {feature.name!r} has {lost} values that are no {kind}")
    return pd.DataFrame(columns, index=table.index), notes


def _conform(column: pd.Series, feature: Feature) -> tuple[pd.Series, int]:
    """The column, and how many of its values had to count as missing."""
    if feature.kind == "Numerical" and pd.api.types.is_float_dtype(column.dtype):
        numbers = _bounded(column.to_numpy(dtype=np.float64, na_value=np.nan))
        return pd.Series(numbers, index=column.index), int((np.isnan(numbers) & column.notna()).sum())
    codes, values = distinct(column)
    if feature.kind == "Categorical":
        texts = [as_text(value) for value in values]
        lost = [text is None for text in texts]
        result = _text(column, codes, [text or MISSING for text in texts])
    else:
        numbers = np.array([_number(value) for value in values], dtype=np.float64)
        blank = [isinstance(value, str) and as_category(value) == MISSING for value in values]
        lost = [bool(np.isnan(n)) and not b for n, b in zip(numbers, blank, strict=True)]
        result = pd.Series(np.append(numbers, np.nan)[codes].astype(np.float32), index=column.index, name=column.name)
    return result, int(np.append(lost, False)[codes].sum())


def as_text(value: Any) -> str | None:
    """The value as a category. A file may have stored one as a number: 1, 1.0 and "1" are one; None: it is neither."""
    match value:
        case str():
            return as_category(value)
        case bool() | np.bool_():
            return str(bool(value))
        case int() | float() | np.integer() | np.floating():
            number = float(value)
            return str(int(number)) if number.is_integer() else str(value)
        case _:
            return None


def arrays(frame: pd.DataFrame, contract: Contract) -> tuple[Vector, Vector]:
    """NUMBERS and CATEGORIES of clean rows."""
    numbers = frame[[f.name for f in contract.numerical]].to_numpy(dtype=np.float32)
    categories = frame[[f.name for f in contract.categorical]].to_numpy(dtype=object)
    return numbers, categories


def _mixed(name: object, count: int, what: str, hint: str) -> Refused:
    return Refused(Reason.ColumnMixed, f"column {name!r} holds {count} {what} that no feature can be made of{hint}")


def _dates_hint(name: object) -> str:
    return f": make a number of it, such as days since, or list {name!r} under exclude"


def _listing(names: Iterable[object], limit: int = 8) -> str:
    listed = [str(name) for name in names]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
