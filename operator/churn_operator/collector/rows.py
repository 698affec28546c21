"""From bodies to rows, with personal data dropped or hashed. Pure.

Of a request nothing is kept but the contract's columns and the identifier: one that was refused may hold anything.
"""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from churn_operator.api.contract import MISSING, Contract, as_category, as_number
from churn_operator.api.inference_log import FEATURE_PREFIX, hashed, identifier

Value = float | str | None
MAX_ROWS = 10_000
"""Rows of one event: ten times what the predictor takes."""


class Unreadable(ValueError):
    """The body holds no rows or no predictions: the predictor has refused it, or it is of a protocol unknown here."""


class Forbidden(Unreadable):
    """The body names a column that nothing may be taken with."""


class Row(NamedTuple):
    """A row of a request, as it is logged."""

    id: str | None
    values: tuple[Value, ...]
    """In the order of `Reader.columns`."""


class Answer(NamedTuple):
    """A prediction."""

    probability: float
    churn: bool


class Column(NamedTuple):
    """A column of the log."""

    name: str
    type: str
    """`double` or `string`."""


class Reader:
    """A contract, compiled: which columns are kept, and how their values are told."""

    def __init__(self, contract: Contract, key: bytes | None) -> None:
        """`key` is what personal data is hashed with; without one it is dropped instead."""
        action = {item.column: item.action for item in contract.personal}
        self.hashes_dropped = key is None and "Hash" in action.values()
        if key is None:
            action = {name: "Drop" if word == "Hash" else word for name, word in action.items()}
        self._forbidden = frozenset(name for name, word in action.items() if word == "Fail")
        self._id = None if action.get(contract.id_column or "") in ("Drop", "Fail") else contract.id_column
        hide = (lambda text: hashed(text, key)) if key else None
        self._hide_id = hide if action.get(contract.id_column or "") == "Hash" else None
        self._features: list[tuple[str, Callable[[object], Value]]] = []
        columns = []
        for feature in contract.features:
            if action.get(feature.name) in ("Drop", "Fail"):
                continue
            hidden = hide if action.get(feature.name) == "Hash" else None
            numeric = feature.kind == "Numerical"
            self._features.append((feature.name, _reading(numeric=numeric, hide=hidden)))
            columns.append(Column(FEATURE_PREFIX + feature.name, "double" if numeric and not hidden else "string"))
        self.columns = tuple(columns)

    def rows(self, body: bytes) -> list[Row]:
        """The rows of a V1 or V2 request, or of a plain one.

        Raises:
            Unreadable: there are none, or a value is not what the contract says.
        """
        given = _request(_json(body))
        if self._forbidden and any(name in self._forbidden for row in given for name in row):
            raise Forbidden("a row names a column that must not be sent")
        try:
            return [self._row(row) for row in given]
        except (ValueError, OverflowError) as error:
            raise Unreadable(str(error)) from None

    def _row(self, given: dict[str, Any]) -> Row:
        name = identifier(given.get(self._id)) if self._id else None
        if name is not None:
            name.encode()  # half a character can be written nowhere
            name = self._hide_id(name) if self._hide_id else name
        return Row(name, tuple(read(given.get(column)) for column, read in self._features))


def _reading(*, numeric: bool, hide: Callable[[str], str] | None) -> Callable[[object], Value]:
    def number(value: object) -> float | None:
        found = as_number(value)
        return None if math.isnan(found) else found

    def text(value: object) -> str | None:
        found = as_category(value)
        found.encode()  # half a character can be written nowhere
        return None if found == MISSING else found

    def hidden(value: object) -> str | None:
        found = number(value) if numeric else text(value)
        return None if found is None or hide is None else hide(str(found))

    return hidden if hide else number if numeric else text


def answers(body: bytes) -> list[Answer]:
    """The predictions of a V1 or V2 response, or of a plain one.

    Raises:
        Unreadable: there are none.
    """
    content = _json(body)
    threshold: float | None = None
    match content:
        case {"predictions": list() as predictions}:
            pass
        case {"outputs": list() as outputs, "parameters": {"threshold": int() | float() as told}}:
            predictions, threshold = _transposed(outputs), told
        case {"outputs": list() as outputs}:
            predictions = _transposed(outputs)
        case list():
            predictions = content
        case _:
            predictions = [content]
    return [_answer(prediction, threshold) for prediction in _bounded(predictions)]


def _answer(prediction: object, threshold: float | None) -> Answer:
    """What a client of V2 that asks for probabilities alone is not told, the threshold says."""
    match prediction:
        case {"probability": int() | float() as probability, "churn": bool() as churn} if 0 <= probability <= 1:
            return Answer(float(probability), churn)
        case {"probability": int() | float() as probability} if 0 <= probability <= 1 and threshold is not None:
            return Answer(float(probability), probability >= threshold)
        case _:
            raise Unreadable("a prediction must have a probability and say whether it means churn")


def _request(content: object) -> list[dict[str, Any]]:
    match content:
        case {"instances": list() as given}:
            rows = given
        case {"inputs": list() as tensors}:
            rows = _transposed(tensors)
        case list():
            rows = content
        case _:
            rows = [content]
    for row in _bounded(rows):
        if not isinstance(row, dict):
            raise Unreadable("a row must be an object of columns")
    return rows


def _transposed(tensors: Iterable[object]) -> list[Any]:
    """Rows, from a tensor for each column: one value for each row, or a list of one."""
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        match tensor:
            case {"name": str() as name, "data": list() as data}:
                columns[name] = [cell[0] if isinstance(cell, list) and len(cell) == 1 else cell for cell in data]
            case _:
                raise Unreadable("a tensor must have a name and data as a list")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise Unreadable("there must be tensors, each with as many values as the others")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _bounded(rows: list[Any]) -> list[Any]:
    if not 1 <= len(rows) <= MAX_ROWS:
        raise Unreadable(f"there must be 1 to {MAX_ROWS} rows, got {len(rows)}")
    return rows


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable("the body must be JSON") from None
