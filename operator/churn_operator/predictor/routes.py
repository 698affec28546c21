"""Every path that is served: the SDK's own, and ours beside them."""

from collections.abc import Mapping
from typing import Any

import orjson
from kserve.errors import InvalidInput
from starlette.responses import HTMLResponse, JSONResponse, Response

from churn_operator.predictor import openapi, tensors
from churn_operator.predictor.drain import Drain
from churn_operator.predictor.edge import Handler, Route
from churn_operator.predictor.model import Predictor, caller_of
from churn_operator.predictor.request import Refused

GET = ("GET",)
POST = ("POST",)


def routes(model: Predictor, drain: Drain) -> dict[str, Route]:
    """What each path is answered by."""
    own = _Own(model, drain)
    document = openapi.document(model.name, model.version, model.contract)
    v1, v2 = f"/v1/models/{model.name}", f"/v2/models/{model.name}"
    infer = Route(POST, "v2", own.infer)
    return {
        "/": Route(GET),
        "/metrics": Route(GET),
        "/v1/models": Route(GET),
        v1: Route(GET),
        f"{v1}:predict": Route(POST, "v1", own.predict_v1),
        "/v2": Route(GET, handler=_constant(server_metadata(model))),
        "/v2/health/live": Route(GET, handler=_constant({"live": True})),
        "/v2/health/ready": Route(GET, handler=own.server_ready),
        "/v2/models": Route(GET, handler=_constant({"models": [model.name]})),
        v2: Route(GET, handler=_constant(model.metadata())),
        f"{v2}/ready": Route(GET, handler=own.ready),
        f"{v2}/infer": infer,
        f"{v2}/versions/{model.version}/infer": infer,
        "/predict": Route(POST, "predict", own.predict),
        "/health": Route(GET, handler=_constant({"status": "alive"})),
        "/ready": Route(GET, handler=own.ready),
        "/openapi.json": Route(GET, handler=_constant(document)),
        "/docs": Route(GET, handler=_page(openapi.page(document))),
    }


def server_metadata(model: Predictor) -> dict[str, Any]:
    """What V2 tells of the server: one that serves a version has that version."""
    return {"name": "churn-predictor", "version": model.version, "extensions": ["binary_tensor_data"]}


class _Own:
    """What depends on the request."""

    def __init__(self, model: Predictor, drain: Drain) -> None:
        self._model = model
        self._drain = drain
        self._lists = tensors.most_lists(model.contract)

    async def predict_v1(self, body: bytes, headers: Mapping[str, str]) -> Response:
        """The SDK's model without the SDK's way to it, which takes as long as all the rest."""
        try:
            answer, _ = await self._model(tensors.decoded(body, self._lists), headers)
        except InvalidInput as error:
            raise Refused(str(error)) from None
        return Response(orjson.dumps(answer), media_type="application/json")

    async def predict(self, body: bytes, headers: Mapping[str, str]) -> Response:
        answer = await self._model.predict_plain(tensors.decoded(body, self._lists), caller_of(headers))
        return Response(orjson.dumps(answer), media_type="application/json")

    async def infer(self, body: bytes, headers: Mapping[str, str]) -> Response:
        inference = tensors.from_body(body, headers, self._lists)
        answer, answer_headers = tensors.to_body(inference, await self._model.infer(inference, caller_of(headers)))
        return Response(answer, headers=answer_headers)

    async def ready(self, _body: bytes, _headers: Mapping[str, str]) -> Response:
        ready = not self._drain.under_way
        answer = {"name": self._model.name, "version": self._model.version, "ready": ready}
        return JSONResponse(answer, 200 if ready else 503)

    async def server_ready(self, _body: bytes, _headers: Mapping[str, str]) -> Response:
        ready = not self._drain.under_way
        return JSONResponse({"ready": ready}, 200 if ready else 503)


def _constant(answer: dict[str, Any]) -> Handler:
    """A handler that answers the same JSON each time."""
    body = JSONResponse(answer).body

    async def handle(_body: bytes, _headers: Mapping[str, str]) -> Response:
        return Response(body, media_type="application/json")

    return handle


def _page(html: str) -> Handler:
    async def handle(_body: bytes, _headers: Mapping[str, str]) -> Response:
        return HTMLResponse(html)

    return handle
