"""`python -m churn_operator.predictor`: serve one version of a model until SIGTERM."""

import argparse
import gc
import signal
import sys
from pathlib import Path
from typing import Any

from churn_operator.predictor.bundle import Bundle, BundleBroken, read_bundle

EXIT_BROKEN = 10
"""Exit code: the model's files are at fault; starting again cannot help."""


def main(arguments: list[str] | None = None) -> int:
    """Serve; the exit code. The SDK is imported last: it takes seconds, and a broken folder needs none."""
    options = parser().parse_args(arguments)
    # Process 1 of a container ignores SIGTERM until it has a handler; the server brings its own when it starts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        serve(read_bundle(options.model_dir), options)
    except BundleBroken as error:
        print(f"{options.model_dir} cannot be served: {error}", file=sys.stderr)  # noqa: T201 - a program's last words
        return EXIT_BROKEN
    return 0


def serve(bundle: Bundle, options: argparse.Namespace) -> None:
    """Serve a model until SIGTERM.

    Raises:
        BundleBroken: it does not answer as it did in training.
    """
    from churn_operator.predictor import logs

    logs.configure(options.log_level)
    server, model, _ = build_server(bundle, options)
    # What was imported stays: a full collection would look at all of it again, for some 50 ms.
    gc.collect()
    gc.freeze()
    server.start([model])


def build_server(bundle: Bundle, options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The SDK's server, the loaded model and the SDK's application, which is one for the whole process.

    Raises:
        BundleBroken: the model does not answer as it did in training.
    """
    from kserve import ModelServer
    from kserve.model_server import app

    from churn_operator.predictor.edge import Edge
    from churn_operator.predictor.model import Predictor

    model = Predictor(options.model_name, options.version, bundle)
    app.add_middleware(Edge, model=model.name, drain_seconds=options.drain_seconds, access_log=options.access_log)
    server = ModelServer(
        http_port=options.http_port, enable_grpc=False, enable_latency_logging=False, grace_period=options.grace_seconds
    )
    return server, model, app


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m churn_operator.predictor", allow_abbrev=False)
    parser.add_argument("--model-dir", type=Path, default=Path("/mnt/models"), help="folder with manifest.json")
    parser.add_argument("--model-name", required=True, help="answers at /v1/models/<name>:predict")
    parser.add_argument("--version", required=True, help="what each prediction says it is from, such as v1")
    parser.add_argument("--http-port", type=int, default=8080)
    parser.add_argument("--drain-seconds", type=float, default=5.0, help="how long to answer on after SIGTERM")
    parser.add_argument("--grace-seconds", type=int, default=15, help="how long requests in flight may take after that")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    parser.add_argument("--access-log", action="store_true", help="a line for each answer, not only for refusals")
    return parser


if __name__ == "__main__":
    sys.exit(main())
