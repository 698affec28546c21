"""The model as the KServe SDK serves it, and as our own paths and gRPC ask it."""

import math
from collections.abc import Mapping
from typing import Any

from kserve import Model
from kserve.errors import InvalidInput

from churn_operator.api.analysis import ROUTE_HEADER
from churn_operator.predictor import tensors
from churn_operator.predictor.backend import Backend
from churn_operator.predictor.batch import Batcher
from churn_operator.predictor.metrics import Meter
from churn_operator.predictor.request import CLIENTS, PROBE_HEADER, SHADOW_HEADER, Caller, Refused, Rows
from churn_operator.predictor.tensors import Inference, Outcome


class Predictor(Model):  # type: ignore[misc] # the SDK ships no types
    """`{"instances": [row, …]}` → `{"predictions": [{"probability": 0.71, "churn": true, "version": "v1"}, …]}`.

    `churn` is whether the probability reaches the backend's threshold.
    """

    def __init__(
        self, name: str, version: str, backend: Backend, *, batch_rows: int = 0, batch_seconds: float = 0.0
    ) -> None:
        super().__init__(name)
        self.version = version
        self.contract = backend.contract
        self.meter = Meter(name, version, backend.contract)
        self._backend = backend
        self._batcher = (
            Batcher(backend.score, max_rows=batch_rows, seconds=batch_seconds, count=self.meter.batched)
            if batch_rows > 1
            else None
        )
        self.ready = True

    async def predict(self, payload: object, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Score a decoded V1 body; one marked as the operator's own may leave columns out.

        Raises:
            InvalidInput: the request is at fault; the SDK answers 400 with its text.
        """
        caller = caller_of(headers or {})
        try:
            rows = self._backend.rows.read(payload, complete=caller != "probe")
        except Refused as error:
            raise InvalidInput(str(error)) from None
        return {"predictions": self._predictions(await self._score(rows, caller))}

    async def predict_plain(self, payload: object, caller: Caller) -> dict[str, Any] | list[dict[str, Any]]:
        """Score one row as an object, or many as a list.

        Raises:
            Refused: the request is at fault.
        """
        rows = self._backend.rows.read_plain(payload, complete=caller != "probe")
        predictions = self._predictions(await self._score(rows, caller))
        return predictions if isinstance(payload, list) else predictions[0]

    async def infer(self, inference: Inference, caller: Caller) -> Outcome:
        """Score a V2 request.

        Raises:
            Refused: the request is at fault.
        """
        rows = self._backend.tensors.read(inference.tensors, complete=caller != "probe")
        scores = await self._score(rows, caller)
        return Outcome(self.name, self.version, scores, self._decided(scores), self._backend.threshold)

    def metadata(self) -> dict[str, Any]:
        """What V2 tells of the model."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self._backend.platform,
            "inputs": tensors.inputs(self.contract),
            "outputs": tensors.outputs(),
        }

    async def _score(self, rows: Rows, caller: Caller) -> list[float]:
        scores = self._backend.score(rows) if self._batcher is None else await self._batcher.score(rows)
        if not all(map(math.isfinite, scores)):
            raise FloatingPointError("the model answered what is no number")
        if caller in CLIENTS:
            self.meter.scored(rows, scores)
        return scores

    def _predictions(self, scores: list[float]) -> list[dict[str, Any]]:
        decided = zip(scores, self._decided(scores), strict=True)
        return [{"probability": score, "churn": churn, "version": self.version} for score, churn in decided]

    def _decided(self, scores: list[float]) -> list[bool]:
        return [score >= self._backend.threshold for score in scores]


def caller_of(headers: Mapping[str, str]) -> Caller:
    """Who asks: nobody but the operator and its route mark a request."""
    if headers.get(SHADOW_HEADER) == "true":
        return "shadow"
    if headers.get(PROBE_HEADER) == "true":
        return "probe"
    return "gateway" if headers.get(ROUTE_HEADER) == "true" else "client"
