"""`python -m churn_operator.predictor`: serve one version of a model, or a constant, until SIGTERM."""

import argparse
import gc
import signal
import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

from churn_operator.predictor.bundle import Bundle, BundleBroken, read_bundle

EXIT_BROKEN = 10
"""Exit code: the model's files are at fault; starting again cannot help."""
KEEP_ALIVE_SECONDS = 120
"""How long an idle connection is kept.

Longer than those who ask keep it (Go's pools, and so KServe's agent and most gateways: 90 s). A server that closes
first fails the request that is on its way just then, and no proxy may repeat a POST.
"""


def main(arguments: list[str] | None = None) -> int:
    """Serve; the exit code. The SDK is imported last: it takes seconds, and a broken folder needs none."""
    options = parser().parse_args(arguments)
    # Process 1 of a container ignores SIGTERM until it has a handler; the server brings its own when it starts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        serve(read_bundle(options.model_dir) if options.probability is None else None, options)
    except BundleBroken as error:
        print(f"{options.model_dir} cannot be served: {error}", file=sys.stderr)  # noqa: T201 - a program's last words
        return EXIT_BROKEN
    return 0


def serve(bundle: Bundle | None, options: argparse.Namespace) -> None:
    """Serve a model, or where there is none its options' probability, until SIGTERM.

    Raises:
        BundleBroken: it does not answer as it did in training.
    """
    from churn_operator.predictor import logs

    logs.configure(options.log_level, model=options.model_name, version=options.version)
    server, model, _ = build_server(bundle, options)
    # What was imported stays: a full collection would look at all of it again, for some 50 ms.
    gc.collect()
    gc.freeze()
    server.start([model])


def build_server(bundle: Bundle | None, options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The SDK's server, the loaded model and the SDK's application, which is one for the whole process.

    Raises:
        BundleBroken: the model does not answer as it did in training.
    """
    from kserve import ModelServer
    from kserve.model_server import app

    from churn_operator.predictor import rpc
    from churn_operator.predictor.drain import Drain
    from churn_operator.predictor.edge import Edge, Habits
    from churn_operator.predictor.model import Predictor
    from churn_operator.predictor.routes import routes

    batch_seconds = options.batch_milliseconds / 1000
    model = Predictor(
        options.model_name,
        options.version,
        _backend(bundle, options),
        batch_rows=options.batch_rows,
        batch_seconds=batch_seconds,
    )
    # The SDK would start gRPC by itself, but with calls that unload the model, and stop it without a grace.
    server = ModelServer(
        http_port=options.http_port,
        enable_grpc=False,
        enable_latency_logging=False,
        grace_period=options.grace_seconds,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    drain = Drain(options.drain_seconds)
    servicer = rpc.Servicer(model, drain, data_plane=server.dataplane, access_log=options.access_log)
    limits = rpc.Limits(options.grpc_age_seconds, options.grace_seconds)

    def beside() -> AbstractAsyncContextManager[None]:
        return rpc.serving(servicer, options.grpc_port, drain, limits) if options.grpc_port else nullcontext()

    app.add_middleware(
        Edge,
        routes=routes(model, drain),
        meter=model.meter,
        drain=drain,
        habits=Habits(options.body_seconds, options.access_log, beside),
    )
    return server, model, app


def _backend(bundle: Bundle | None, options: argparse.Namespace) -> Any:
    """Where nothing is scored, nothing that scores is loaded."""
    if bundle is None:
        from churn_operator.predictor.constant import constant

        return constant(options.probability)
    from churn_operator.predictor.scorer import load

    return load(bundle)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m churn_operator.predictor", allow_abbrev=False)
    parser.add_argument("--model-dir", type=Path, default=Path("/mnt/models"), help="folder with manifest.json")
    parser.add_argument("--probability", type=float, help="answer this to every row, and need no model")
    parser.add_argument("--model-name", required=True, help="answers at /v1/models/<name>:predict")
    parser.add_argument("--version", required=True, help="what each prediction says it is from, such as v1")
    parser.add_argument("--http-port", type=int, default=8080)
    parser.add_argument("--grpc-port", type=int, default=8081, help="0: no gRPC")
    parser.add_argument("--grpc-age-seconds", type=float, default=12.0, help="how long a gRPC connection lives")
    parser.add_argument("--body-seconds", type=float, default=10.0, help="how long a request's body may take to come")
    parser.add_argument("--batch-rows", type=int, default=0, help="rows of several requests in one call; 0: each alone")
    parser.add_argument("--batch-milliseconds", type=float, default=2.0, help="how long the first of a batch waits")
    parser.add_argument("--drain-seconds", type=float, default=5.0, help="how long to answer on after SIGTERM")
    parser.add_argument("--grace-seconds", type=int, default=15, help="how long requests in flight may take after that")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    parser.add_argument("--access-log", action="store_true", help="a line for each answer, not only for refusals")
    return parser


if __name__ == "__main__":
    sys.exit(main())
