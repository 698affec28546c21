"""The model as the KServe SDK serves it."""

from typing import Any

from kserve import Model
from kserve.errors import InvalidInput

from churn_operator.predictor.bundle import Bundle
from churn_operator.predictor.request import PROBE_HEADER, Refused
from churn_operator.predictor.scorer import load


class Predictor(Model):  # type: ignore[misc] # the SDK ships no types
    """`{"instances": [row, …]}` → `{"predictions": [{"probability": 0.71, "churn": true, "version": "v1"}, …]}`.

    `churn` is whether the probability reaches the manifest's threshold.
    """

    def __init__(self, name: str, version: str, bundle: Bundle) -> None:
        """Load the model.

        Raises:
            BundleBroken: it does not answer as it did in training.
        """
        super().__init__(name)
        self._version = version
        self._threshold = bundle.manifest.threshold
        self._reader, self._scorer = load(bundle)
        self.ready = True

    def predict(self, payload: object, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Score a decoded body; one marked as the operator's own may leave columns out.

        Raises:
            InvalidInput: the request is at fault; the SDK answers 400 with its text.
        """
        complete = not headers or headers.get(PROBE_HEADER) != "true"
        try:
            rows = self._reader.read(payload, complete=complete)
        except Refused as error:
            raise InvalidInput(str(error)) from None
        return {
            "predictions": [
                {"probability": score, "churn": score >= self._threshold, "version": self._version}
                for score in self._scorer.score(rows)
            ]
        }
