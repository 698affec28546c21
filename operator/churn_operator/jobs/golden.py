"""A made-up typical customer: medians and most frequent categories of the training rows."""

import json
from typing import Any

import numpy as np
import pandas as pd

from churn_operator.api.contract import MISSING, Contract
from churn_operator.api.tasks import Golden
from churn_operator.jobs.frame import conform

_BYTES = 1500
"""Of JSON, at most: the instance travels in a result. Features that do not fit are left out, which means missing."""


def typical(frame: pd.DataFrame, contract: Contract) -> dict[str, Any]:
    """The instance, in the contract's order; without personal data, of which even the most frequent is somebody's."""
    instance: dict[str, Any] = {}
    personal = {p.column for p in contract.personal}
    for feature in contract.features:
        if feature.name in personal:
            continue
        column = frame[feature.name]
        value: float | str
        if feature.kind == "Numerical":
            if column.isna().all():
                continue
            # the shortest decimal that is the same float32
            value = float(str(np.float32(column.median())))
        else:
            value = str(column.mode().iloc[0])
            if value == MISSING:
                continue
        if len(json.dumps({**instance, feature.name: value})) > _BYTES:
            break
        instance[feature.name] = value
    return instance


def golden(pipeline: Any, frame: pd.DataFrame, contract: Contract) -> Golden:
    """The instance and what the fitted pipeline answers for it."""
    instance = typical(frame, contract)
    row, _ = conform(pd.DataFrame([instance], dtype=object), contract)
    return Golden(instance=instance, probability=float(pipeline.predict_proba(row[frame.columns])[0, 1]))
