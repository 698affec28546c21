"""A request's body as the model's inputs. Plain lists: a DataFrame would cost a hundred times the model's own call.

A row names every feature of the contract and nothing else but the identifier, which is for the inference log: an
excluded column is refused like any other unknown one, so that no client sends personal data that the model does not
use. `null` is a missing value.
Only the operator's own probes may leave columns out, which then count as missing: a golden request holds what fits.
"""

import json
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from churn_operator.api.contract import Contract, as_category, as_number

PROBE_HEADER = "x-churn-probe"
"""`true` marks the operator's own requests."""
SHADOW_HEADER = "x-churn-shadow"
"""`true` marks a client's request of another version that is asked again here: it is held to what a client is."""
Caller = Literal["client", "gateway", "probe", "shadow"]
"""Who asks. Only what clients ask is counted as theirs, and apart what they ask through the gateway."""
CLIENTS = frozenset({"client", "gateway"})
MAX_INSTANCES = 1000
"""Rows of one request: what one request can take of the event loop is some milliseconds."""
MAX_BODY = 4 << 20
"""Bytes of one request."""
_SHOWN = 80
"""Characters of a client's own text that an answer repeats."""

_JSON = json.JSONEncoder(ensure_ascii=False, default=repr)

Where = Callable[[int, str | None], str]
"""How an answer calls a row, or a column of it, by the row's position."""
Convert = Callable[[object], object]


class Refused(ValueError):
    """The request is at fault; the text names the field."""

    status = 400


class TooMuch(Refused):
    """It would take long to decode."""

    status = 413


class Rows(NamedTuple):
    """Rows as the model takes them, columns in the contract's order; both lists are as long as there are rows."""

    numbers: list[list[float]]
    """NaN where missing."""
    categories: list[list[str]]
    """MISSING where missing."""


class RowReader:
    """The contract, compiled."""

    def __init__(self, contract: Contract) -> None:
        self._numerical = tuple(feature.name for feature in contract.numerical)
        self._categorical = tuple(feature.name for feature in contract.categorical)
        self._width = len(contract.features)
        self._id = contract.id_column
        self._missing: dict[str, object] = dict.fromkeys((feature.name for feature in contract.features), None)
        self._columns = converters(contract)

    def read(self, body: object, *, complete: bool = True) -> Rows:
        """The rows of `{"instances": [{column: value, …}, …]}`; unless `complete`, an absent column is a missing value.

        Raises:
            Refused: names the first field that is at fault.
        """
        return self._rows(_instances(body), _in_instances, complete=complete)

    def read_plain(self, body: object, *, complete: bool = True) -> Rows:
        """The rows of a bare list, or a bare row.

        Raises:
            Refused: names the first field that is at fault.
        """
        if isinstance(body, list):
            return self._rows(bounded(body, "body"), _in_list, complete=complete)
        if not isinstance(body, dict):
            raise Refused(f"body: must be an object of columns or a list of such, got {shown(body)}")
        return self._rows([body], _alone, complete=complete)

    def _rows(self, given: Sequence[object], where: Where, *, complete: bool) -> Rows:
        rows = Rows([], [])
        for position, each in enumerate(given):
            named = check_row(each, where(position, None))
            row = named if complete else {**self._missing, **named}
            try:
                rows.numbers.append([as_number(row[name]) for name in self._numerical])
                rows.categories.append([as_category(row[name]) for name in self._categorical])
            except (KeyError, ValueError):
                raise self._fault(position, row, where) from None
            if len(row) != self._width + (self._id in row):
                raise self._fault(position, row, where)
        return rows

    def _fault(self, position: int, row: dict[str, object], where: Where) -> Refused:
        """What is wrong with a row of which something is."""
        for name in row:
            if name not in self._columns and name != self._id:
                return Refused(f"{where(position, short(name))}: unknown column")
        for name, (rule, convert) in self._columns.items():
            if name not in row:
                return Refused(f"{where(position, name)}: required")
            try:
                convert(row[name])
            except ValueError as error:
                return Refused(f"{where(position, name)}: {told(rule, error, row[name])}")
        raise AssertionError(f"{where(position, None)} is at fault in no column")


def check_row(given: object, where: str) -> dict[str, object]:
    """The row.

    Raises:
        Refused: it is none.
    """
    if not isinstance(given, dict):
        raise Refused(f"{where}: must be an object of columns, got {shown(given)}")
    return given


def converters(contract: Contract) -> dict[str, tuple[str, Convert]]:
    """By feature: the rule for its values, and what turns a value into the model's."""
    return {
        feature.name: ("must be a number", as_number) if feature.kind == "Numerical" else ("must be text", as_category)
        for feature in contract.features
    }


def told(rule: str, error: ValueError, value: object) -> str:
    """What a client hears of a value: Python's own words about text that reads as no number are not for clients."""
    return f"{rule if isinstance(value, str) else error}, got {shown(value)}"


def bounded(rows: list[object], where: str) -> list[object]:
    """The rows.

    Raises:
        Refused: there are none, or too many.
    """
    check_count(len(rows), where)
    return rows


def check_count(rows: int, where: str) -> None:
    """Refuse a number of rows that no request may have.

    Raises:
        Refused: there are none, or too many.
    """
    if not 1 <= rows <= MAX_INSTANCES:
        raise Refused(f"{where}: must hold 1 to {MAX_INSTANCES} rows, got {rows}")


def _instances(body: object) -> list[object]:
    if not isinstance(body, dict):
        raise Refused(f'body: must be an object {{"instances": […]}}, got {shown(body)}')
    if "instances" not in body:
        raise Refused("instances: required")
    instances = body["instances"]
    if not isinstance(instances, list):
        raise Refused(f"instances: must be a list, got {shown(instances)}")
    return bounded(instances, "instances")


def _in_instances(position: int, column: str | None) -> str:
    return f"instances{_in_list(position, column)}"


def _in_list(position: int, column: str | None) -> str:
    return f"[{position}]" if column is None else f"[{position}].{column}"


def _alone(_position: int, column: str | None) -> str:
    return column or "body"


def short(name: str) -> str:
    return name[:_SHOWN]


def shown(value: object) -> str:
    """The beginning of a value; nothing behind it is looked at, as it may be megabytes, or very deep."""
    text = ""
    for piece in _JSON.iterencode(value):
        text += piece
        if len(text) > _SHOWN:
            return text[: _SHOWN - 1] + "…"
    return text
