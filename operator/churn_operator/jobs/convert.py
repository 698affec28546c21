"""From a fitted pipeline to ONNX, and asking the result."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray

from churn_operator.api.contract import CATEGORIES, NUMBERS, PROBABILITIES, Contract
from churn_operator.jobs.frame import arrays

_ROWS_AT_ONCE = 50_000


def to_onnx(pipeline: Any, contract: Contract) -> bytes:
    """The pipeline's `predict_proba` as an ONNX file, with the inputs and the output of `api.contract`."""
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs

    inputs: list[tuple[str, Any]] = []
    if contract.numerical:
        inputs.append((NUMBERS, FloatTensorType([None, len(contract.numerical)])))
    if contract.categorical:
        inputs.append((CATEGORIES, StringTensorType([None, len(contract.categorical)])))
    # what would be random, or in the order of a set, would make the digest of the same model another
    options = {id(pipeline): {"zipmap": False}}
    with warnings.catch_warnings():
        # skl2onnx 1.20 gives protobuf booleans for integers, which protobuf 7 refuses
        warnings.simplefilter("ignore", DeprecationWarning)
        model = skl2onnx.to_onnx(pipeline, name="churn", initial_types=inputs, options=options)
    model = select_model_inputs_outputs(model, outputs=[PROBABILITIES])
    domains = sorted(model.opset_import, key=lambda entry: entry.domain)
    del model.opset_import[:]
    model.opset_import.extend(domains)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class Model:
    """An ONNX file that answers rows."""

    def __init__(self, onnx: bytes, contract: Contract) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self._contract = contract

    def probabilities(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """The probability of churn of each clean row."""
        numbers, categories = arrays(frame, self._contract)
        feeds = {NUMBERS: numbers, CATEGORIES: categories}
        feeds = {name: rows for name, rows in feeds.items() if rows.shape[1]}
        chunks = [
            self.run({name: rows[start : start + _ROWS_AT_ONCE] for name, rows in feeds.items()})
            for start in range(0, len(frame), _ROWS_AT_ONCE)
        ]
        return np.concatenate(chunks) if chunks else np.empty(0)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        answer: NDArray[np.float32] = self._session.run([PROBABILITIES], dict(feeds))[0]
        return answer[:, 1].astype(np.float64)
