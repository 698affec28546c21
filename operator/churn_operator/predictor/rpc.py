"""V2 over gRPC: the SDK's service on a port of its own, but for the calls that could take the model away."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
from kserve.protocol.grpc.grpc_predict_v2_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.servicer import InferenceServicer

from churn_operator.predictor import tensors
from churn_operator.predictor.drain import Drain
from churn_operator.predictor.logs import REQUEST_ID, take_request_id
from churn_operator.predictor.model import Predictor, caller_of
from churn_operator.predictor.request import CLIENTS, MAX_BODY, Caller, Refused
from churn_operator.predictor.routes import server_metadata

log = logging.getLogger("churn.access")

METHOD = "/inference.GRPCInferenceService/ModelInfer"
OUTCOMES = {
    grpc.StatusCode.OK: "answered",
    grpc.StatusCode.INTERNAL: "failed",
    grpc.StatusCode.CANCELLED: "abandoned",
}
"""Any other is a refusal."""
STOP_SECONDS = 3.0
"""A call takes milliseconds; one that is neither answered nor cancelled by now came while the server was stopping."""
QUIET_SECONDS = 1.0
"""Without a call for so long, nobody is in the middle of something."""


class Limits(NamedTuple):
    """How long things may take."""

    age_seconds: float
    """Of a connection: it is then told to end, and the client takes another, as a rule without noticing.

    It would lead to one pod for ever otherwise. And it is the only way to leave: a server that stops cancels the calls
    that are on their way to it, so that connections have to go before it does."""
    grace_seconds: float
    """Of what is in flight when a connection ends; also of half a request."""

    def options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.max_receive_message_length", MAX_BODY),
            ("grpc.max_connection_age_ms", int(self.age_seconds * 1000)),
            ("grpc.max_connection_age_grace_ms", int(self.grace_seconds * 1000)),
            ("grpc.max_concurrent_streams", 1000),
            ("grpc.so_reuseport", 0),  # else a second server on the port would take half of the calls
        ]

    def longest_age(self) -> float:
        """gRPC adds up to a tenth, so that clients do not come back all at once."""
        return self.age_seconds * 1.1 + QUIET_SECONDS


class Servicer(InferenceServicer):  # type: ignore[misc] # the SDK ships no types
    """The SDK's answers to questions about the server; predictions, and the words of refusals, are ours."""

    def __init__(self, model: Predictor, drain: Drain, *, data_plane: Any, access_log: bool) -> None:
        super().__init__(data_plane, None)
        self._model = model
        self._drain = drain
        self._asked = 0.0
        self._level = logging.INFO if access_log else logging.DEBUG

    async def RepositoryModelLoad(self, request: Any, context: Any) -> None:  # noqa: ARG002, N802 - the protocol's
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "models come and go with their pods")

    RepositoryModelUnload = RepositoryModelLoad

    async def ServerMetadata(self, request: Any, context: Any) -> ServerMetadataResponse:  # noqa: ARG002, N802 - the protocol's
        return ServerMetadataResponse(**server_metadata(self._model))

    async def ServerReady(self, request: Any, context: Any) -> ServerReadyResponse:  # noqa: ARG002, N802 - the protocol's
        return ServerReadyResponse(ready=not self._drain.under_way)

    async def ModelMetadata(self, request: Any, context: Any) -> ModelMetadataResponse:  # noqa: N802 - the protocol's
        await self._check_name(request.name, request.version, context)
        return ModelMetadataResponse(**self._model.metadata())

    async def ModelInfer(self, request: ModelInferRequest, context: Any) -> ModelInferResponse:  # noqa: N802 - the protocol's
        started = time.perf_counter()
        self._asked = time.monotonic()
        sent = dict(context.invocation_metadata() or ())
        context.set_trailing_metadata(((REQUEST_ID, take_request_id(sent.get(REQUEST_ID))),))
        caller = caller_of(sent)
        code = grpc.StatusCode.INTERNAL
        try:
            await self._check_name(request.model_name, request.model_version, context)
            inference = tensors.from_message(request)
            answer = tensors.to_message(inference, await self._model.infer(inference, caller))
            code = grpc.StatusCode.OK
        except Refused as error:
            code = grpc.StatusCode.INVALID_ARGUMENT
            await context.abort(code, str(error))
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = grpc.StatusCode.NOT_FOUND
            raise
        finally:
            self._observe(code, time.perf_counter() - started, caller)
        return answer

    def is_asked(self) -> bool:
        """Whether there was a call just now."""
        return time.monotonic() - self._asked < QUIET_SECONDS

    async def _check_name(self, name: str, version: str, context: Any) -> None:
        if name != self._model.name:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"model_name: {self._model.name} is served, not {name[:80]}")
        if version and version != self._model.version:
            told = f"model_version: {self._model.version} is served, not {version[:80]}"
            await context.abort(grpc.StatusCode.NOT_FOUND, told)

    def _observe(self, code: grpc.StatusCode, seconds: float, caller: Caller) -> None:
        self._model.meter.asked("grpc", OUTCOMES.get(code, "refused"), seconds, caller)
        level = logging.DEBUG if caller not in CLIENTS else self._level if code is grpc.StatusCode.OK else logging.INFO
        if log.isEnabledFor(level):
            fields = {"method": "gRPC", "path": METHOD, "status": code.name, "milliseconds": round(seconds * 1000, 3)}
            log.log(level, "request", extra={"fields": fields})


@asynccontextmanager
async def serving(servicer: Servicer, port: int, drain: Drain, limits: Limits) -> AsyncIterator[None]:
    """Answer gRPC on a port until the block ends, and then for as long as it takes clients to move."""
    server = grpc.aio.server(interceptors=(ExceptionToStatusInterceptor(),), options=limits.options())
    add_GRPCInferenceServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"[::]:{port}")
    await server.start()
    try:
        yield
    finally:
        until = (drain.since or 0.0) + limits.longest_age()
        # To wake up for each call would cost each call something.
        while time.monotonic() < until and servicer.is_asked() and not drain.cut_short:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.1)
        await server.stop(STOP_SECONDS)
