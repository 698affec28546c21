"""Made-up customers whose answer is known: a typical one, and some that differ from it and are answered otherwise.

None is a row of the table: a golden request stands in status, where nobody's data may.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn_operator.api.contract import MISSING, Contract
from churn_operator.api.tasks import Golden, GoldenVariant
from churn_operator.jobs.frame import conform

Value = float | str
Instance = Mapping[str, Value]

_BYTES = 1500
"""Of JSON, at most: the instance travels in a result. Features that do not fit are left out, which means missing."""
_VARIANT_BYTES = 600
"""The same, for all variants together; those that do not fit are left out."""
_TAILS = (0.1, 0.9)
"""Quantiles of a number that many customers are beyond."""
_COMMON = 0.05
"""Share of the customers who have a category, from which on it tells of nobody."""
_CHANGES = (1, 4)
"""How many features a variant changes: those that tell most."""
_APART = 0.01
"""A probability nearer than this to another one's proves nothing more."""


def golden(pipeline: Any, frame: pd.DataFrame, contract: Contract) -> Golden:
    """The customers, and what the fitted pipeline answers for them."""

    def ask(changes: Iterable[Instance]) -> Iterator[GoldenVariant]:
        asked = list(changes)
        rows, _ = conform(pd.DataFrame([{**instance, **each} for each in asked], dtype=object), contract)
        answers: NDArray[np.float64] = pipeline.predict_proba(rows[frame.columns])[:, 1]
        for each, probability in zip(asked, answers, strict=True):
            yield GoldenVariant(changes=dict(each), probability=float(probability))

    instance = typical(frame, contract)
    first, *singly = ask([{}, *_changes(frame, instance)])
    variants = _apart(first.probability, ask(_combined(first.probability, singly)))
    return Golden(instance=dict(instance), probability=first.probability, variants=tuple(variants))


def typical(frame: pd.DataFrame, contract: Contract) -> Instance:
    """Medians and most frequent categories, in the contract's order.

    Without personal data, of which even the most frequent is somebody's.
    """
    instance: dict[str, Value] = {}
    personal = {p.column for p in contract.personal}
    for feature in contract.features:
        if feature.name in personal:
            continue
        column = frame[feature.name]
        value: Value
        if feature.kind == "Numerical":
            if column.isna().all():
                continue
            value = _short(column.median())
        else:
            value = str(column.mode().iloc[0])
            if value == MISSING:
                continue
        if len(json.dumps({**instance, feature.name: value})) > _BYTES:
            break
        instance[feature.name] = value
    return instance


def _changes(frame: pd.DataFrame, instance: Instance) -> Iterator[Instance]:
    """The typical customer with one feature changed, in each way that is common."""
    for name, value in instance.items():
        others: list[Value]
        if isinstance(value, str):
            shares = frame[name].value_counts(normalize=True)
            others = [str(category) for category in shares.index[shares >= _COMMON] if category != MISSING]
        else:
            others = [_short(number) for number in frame[name].quantile(list(_TAILS))]
        yield from ({name: other} for other in others if other != value)


def _combined(typically: float, singly: list[GoldenVariant]) -> Iterator[Instance]:
    """The changes that lower the probability most, and those that raise it most, alone and together."""
    for sign in (-1, 1):
        telling: dict[str, Any] = {}
        for variant in sorted(singly, key=lambda each: -sign * each.probability):
            if sign * (variant.probability - typically) > 0:
                telling |= {k: v for k, v in variant.changes.items() if k not in telling}
        yield from (dict(islice(telling.items(), most)) for most in _CHANGES)


def _apart(typically: float, variants: Iterable[GoldenVariant]) -> Iterator[GoldenVariant]:
    """Those that are answered otherwise than the rest, as many as fit."""
    known, room = [typically], _VARIANT_BYTES
    for variant in variants:
        size = len(json.dumps(variant.changes))
        if size <= room and min(abs(variant.probability - other) for other in known) >= _APART:
            known.append(variant.probability)
            room -= size
            yield variant


def _short(number: float) -> float:
    """The shortest decimal that is the same float32."""
    return float(str(np.float32(number)))
