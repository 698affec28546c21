"""A V1 request's body as the model's inputs. Plain lists: a DataFrame would cost a hundred times the model's own call.

A row names every feature of the contract and nothing else but the identifier, which is for the inference log: an
excluded column is refused like any other unknown one, so that no client sends personal data that the model does not
use. `null` is a missing value.
Only the operator's own probes may leave columns out, which then count as missing: a golden request holds what fits.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

from churn_operator.api.contract import Contract, as_category, as_number

PROBE_HEADER = "x-churn-probe"
"""`true` marks the operator's own requests."""
MAX_INSTANCES = 1000
"""Rows of one request: what one request can take of the event loop is some milliseconds."""
MAX_BODY = 4 << 20
"""Bytes of one request."""
_SHOWN = 80
"""Characters of a client's own text that an answer repeats."""


class Refused(ValueError):
    """The request is at fault; the text names the field."""


class Rows(NamedTuple):
    """Rows as the model takes them, columns in the contract's order."""

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
        self._columns: dict[str, tuple[str, Callable[[object], object]]] = {
            feature.name: ("must be a number", as_number)
            if feature.kind == "Numerical"
            else ("must be text", as_category)
            for feature in contract.features
        }

    def read(self, body: object, *, complete: bool = True) -> Rows:
        """The rows of `{"instances": [{column: value, …}, …]}`; unless `complete`, an absent column is a missing value.

        Raises:
            Refused: names the first field that is at fault.
        """
        instances = _instances(body)
        rows = Rows([], [])
        for position, given in enumerate(instances):
            if not isinstance(given, dict):
                raise Refused(f"instances[{position}]: must be an object of columns, got {_shown(given)}")
            row = given if complete else {**self._missing, **given}
            try:
                rows.numbers.append([as_number(row[name]) for name in self._numerical])
                rows.categories.append([as_category(row[name]) for name in self._categorical])
            except (KeyError, ValueError):
                raise self._fault(position, row) from None
            if len(row) != self._width + (self._id in row):
                raise self._fault(position, row)
        return rows

    def _fault(self, position: int, row: dict[str, object]) -> Refused:
        """What is wrong with a row of which something is."""
        where = f"instances[{position}]"
        for name in row:
            if name not in self._columns and name != self._id:
                return Refused(f"{where}.{name[:_SHOWN]}: unknown column")
        for name, (rule, convert) in self._columns.items():
            if name not in row:
                return Refused(f"{where}.{name}: required")
            try:
                convert(row[name])
            except ValueError as error:
                # Python's own words about text that reads as no number are not for clients.
                told = rule if isinstance(row[name], str) else str(error)
                return Refused(f"{where}.{name}: {told}, got {_shown(row[name])}")
        raise AssertionError(f"{where} is at fault in no column")


def _instances(body: object) -> list[object]:
    if not isinstance(body, dict):
        raise Refused(f'body: must be an object {{"instances": […]}}, got {_shown(body)}')
    if "instances" not in body:
        raise Refused("instances: required")
    instances = body["instances"]
    if not isinstance(instances, list):
        raise Refused(f"instances: must be a list, got {_shown(instances)}")
    if not 1 <= len(instances) <= MAX_INSTANCES:
        raise Refused(f"instances: must hold 1 to {MAX_INSTANCES} rows, got {len(instances)}")
    return instances


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
