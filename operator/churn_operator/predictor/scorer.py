"""One model, ready to score: what stands between a request and a probability."""

import numpy as np
import onnxruntime as ort

from churn_operator.api.contract import CATEGORIES, GOLDEN_FILE, MODEL_FILE, NUMBERS, PROBABILITIES, Contract
from churn_operator.predictor.backend import Backend
from churn_operator.predictor.bundle import Bundle, BundleBroken
from churn_operator.predictor.request import Refused, RowReader, Rows
from churn_operator.predictor.tensors import TensorReader

TOLERANCE = 1e-5
"""Largest difference from scikit-learn's probability that is rounding."""


class Scorer:
    """An ONNX session. One thread: a row is too small to share, and a pod's CPU limit is not the machine's."""

    def __init__(self, onnx: bytes, contract: Contract) -> None:
        """Load the model.

        Raises:
            BundleBroken: it does not load, or has other inputs and outputs than the contract asks for.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise BundleBroken(f"{MODEL_FILE}: onnxruntime cannot load it: {str(error)[:300]}") from error
        widths = {NUMBERS: len(contract.numerical), CATEGORIES: len(contract.categorical)}
        wanted = {name: width for name, width in widths.items() if width}
        found = {each.name: each.shape[-1] for each in self._session.get_inputs()}
        if found != wanted or PROBABILITIES not in [each.name for each in self._session.get_outputs()]:
            raise BundleBroken(f"{MODEL_FILE}: takes {found}, where the contract asks for {wanted}")
        self._inputs = frozenset(wanted)

    def score(self, rows: Rows) -> list[float]:
        """The probability of churn of each row."""
        feeds: dict[str, np.ndarray] = {}
        if NUMBERS in self._inputs:
            feeds[NUMBERS] = np.array(rows.numbers, dtype=np.float32)
        if CATEGORIES in self._inputs:
            feeds[CATEGORIES] = np.array(rows.categories, dtype=object)
        (probabilities,) = self._session.run([PROBABILITIES], feeds)
        scores: list[float] = probabilities[:, 1].tolist()
        # A forest adds its trees' shares up: where all agree, rounding makes a little more of it than 1.
        return [1.0 if 1 < score <= 1 + TOLERANCE else score for score in scores]


def load(bundle: Bundle) -> Backend:
    """A model that has answered its golden request.

    Raises:
        BundleBroken: the answer is not the one that training got.
    """
    reader, scorer = RowReader(bundle.contract), Scorer(bundle.onnx, bundle.contract)
    instances, expected = zip(*bundle.golden.rows, strict=True)
    try:
        rows = reader.read({"instances": list(instances)}, complete=False)
    except Refused as error:
        raise BundleBroken(f"{GOLDEN_FILE}: {error}") from error
    for answer, right in zip(scorer.score(rows), expected, strict=True):
        # Not a comparison by `>`: an answer of NaN must not pass.
        if not abs(answer - right) <= TOLERANCE:
            raise BundleBroken(f"{GOLDEN_FILE}: the model answers {answer:.6f} where training answered {right:.6f}")
    return Backend(
        platform="onnxruntime_onnx",
        contract=bundle.contract,
        rows=reader,
        tensors=TensorReader(bundle.contract),
        score=scorer.score,
        threshold=bundle.manifest.threshold,
    )
