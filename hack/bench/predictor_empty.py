"""The rival of the predictor's benchmark: a KServe SDK model that does nothing, served with the same switches."""

import sys
from typing import Any

from kserve import Model, ModelServer


class Empty(Model):  # type: ignore[misc] # the SDK ships no types
    """Answers what a prediction looks like, without looking at the request."""

    def __init__(self) -> None:
        super().__init__("empty")
        self.ready = True

    def predict(self, payload: object, headers: dict[str, str] | None = None) -> dict[str, Any]:  # noqa: ARG002 - the SDK's signature
        return {"predictions": [{"probability": 0.5, "churn": True, "version": "v0"}]}


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, enable_latency_logging=False).start([Empty()])
