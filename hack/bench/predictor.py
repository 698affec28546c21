"""What a prediction costs, beside what it would cost otherwise; in one run, taking turns.

    python -m hack.bench.predictor [--url URL [--unlogged-url URL] --empty-url URL]

1. The model call against the same scikit-learn pipeline on a one-row DataFrame.
2. A prediction over HTTP at a fixed rate against an empty KServe SDK model at the same rate. Without URLs both are
   started on this machine; with them they are taken as they are, such as a Service's address in a cluster.
3. Without URLs also the protocols beside each other, and the same in batches.

Latencies are counted from when a request was due, so that a late answer also counts for the requests behind it.
"""

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import pandas as pd
from hack.bench.bounds import Bound, judged
from kserve import InferInput, InferRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from churn_operator.api.contract import GOLDEN_FILE, Manifest
from churn_operator.api.tasks import Golden
from churn_operator.api.training import EstimatorName
from churn_operator.jobs import bundle, convert, frame, golden, profile
from churn_operator.jobs.pipeline import build
from churn_operator.predictor.bundle import read_bundle
from churn_operator.predictor.scorer import load

ROOT = Path(__file__).parents[2]
TELCO = ROOT / "samples" / "telco" / "telco.csv"
TARGET = "churn"
PREDICTOR, UNLOGGED, EMPTY = "predictor", "predictor, not logged", "empty KServe model"
START_SECONDS = 60
TIMES_AS_FAST, MILLISECONDS, TIMES_AS_LONG = 40, 5, 1.5
"""Bounds: of the model call beside the pipeline; of a request's p95, and of that beside the empty model's."""
TURN = 10
"""Model calls of one kind before it is the next one's turn."""


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        names: tuple[EstimatorName, ...] = ("LogisticRegression", "HistGradientBoosting")
        bounds = [compare_calls(Path(folder) / name, name, options.calls) for name in names]
        models = Path(folder) / "LogisticRegression"
        instance = Golden.model_validate_json((models / GOLDEN_FILE).read_bytes()).instance
        body = json.dumps({"instances": [instance]}).encode()
        empty = Path(__file__).with_name("predictor_empty.py")
        predictor = ["-m", "churn_operator.predictor", f"--model-dir={models}", "--model-name=telco", "--version=v1"]
        predictor += ["--http-port={port}", "--drain-seconds=0"]
        alone, batches = (f"--grpc-port={free_port()}" for _ in range(2))
        local = not options.url
        if local:
            options.url = stack.enter_context(served([*predictor, alone], "telco"))
            options.empty_url = stack.enter_context(served([str(empty), "{port}"], "empty"))
        bounds += compare_servers(options, body)
        if local:
            batching = [batches, "--batch-rows=32", "--batch-milliseconds=1"]
            batched = stack.enter_context(served([*predictor, *batching], "telco"))
            compare_protocols(options, instance, int(alone.partition("=")[2]), batched)
    return judged(*bounds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a predictor for telco, such as http://10.96.0.7/v1/models/telco:predict")
    parser.add_argument("--unlogged-url", help="the same predictor, past KServe's logger")
    parser.add_argument("--empty-url", help="an empty model; without it only the predictor is measured")
    parser.add_argument("--rate", type=int, default=50, help="requests a second, each")
    parser.add_argument("--seconds", type=int, default=10, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=300, help="model calls of each kind")
    return parser.parse_args()


def train(folder: Path, name: EstimatorName) -> tuple[object, pd.DataFrame]:
    """Fit and pack a model of the sample; the pipeline and the rows it was fitted on."""
    table = pd.read_csv(TELCO, keep_default_na=False, na_values=[""])
    names = [column for column in table.columns if column != TARGET]
    columns = {column: frame.clean(table[column]) for column in names}
    numeric = [column for column in names if columns[column].dtype == np.float32]
    clean = pd.DataFrame({c: columns[c] for c in [*numeric, *(c for c in names if c not in numeric)]})
    contract = frame.infer(clean[names])
    truth = np.array(table[TARGET] == "Yes", dtype=np.int64)
    pipeline = build(contract, name, {}).fit(clean, truth)
    manifest = Manifest(
        estimator=name,
        threshold=0.4,
        target=TARGET,
        positive_label="Yes",
        features=tuple(names),
        split_by=tuple(names),
        files={},
    )
    onnx, typical = convert.to_onnx(pipeline, contract), golden.golden(pipeline, clean, contract)
    bundle.unpack(bundle.pack(manifest, onnx, contract, profile.describe(clean, contract), typical), folder)
    return pipeline, clean


def compare_calls(folder: Path, name: EstimatorName, calls: int) -> Bound:
    pipeline, clean = train(folder, name)
    backend = load(loaded := read_bundle(folder))
    body, row = {"instances": [loaded.golden.instance]}, clean.iloc[[0]]
    rows = backend.rows.read(body)
    timed: dict[str, tuple[Callable[[], object], list[float]]] = {
        "scikit-learn pipeline, one-row DataFrame": (lambda: pipeline.predict_proba(row), []),  # type: ignore[attr-defined] # scikit-learn ships no types
        "model call": (lambda: backend.score(rows), []),
        "model call with validation": (lambda: backend.score(backend.rows.read(body)), []),
    }
    with threadpool_limits(1):  # else scikit-learn waits for threads that a row has no work for
        for _ in range(calls // TURN):
            for call, taken in timed.values():
                taken.extend(clock(call, TURN))
    print(f"\n{name}, {calls} calls each in turns of {TURN}, milliseconds")
    medians = [float(np.median(taken)) for _, taken in timed.values()]
    for (label, (_, taken)), median in zip(timed.items(), medians, strict=True):
        print(f"  {label:<42} {show(np.array(taken))}   {medians[0] / median:6.1f} x")
    return Bound(f"times as fast as the pipeline, {name}", medians[0] / medians[-1], least=TIMES_AS_FAST)


def clock(call: Callable[[], object], times: int) -> list[float]:
    """Seconds of each call, the first left out: it finds the caches full of the others' data."""
    taken = []
    for _ in range(times + 1):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return taken[1:]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def served(arguments: list[str], model: str) -> Iterator[str]:
    """A server on a free port, once it is ready; ended when the block ends."""
    port = free_port()
    command = [sys.executable, *(argument.format(port=port) for argument in arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not is_ready(port, model):
            if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise SystemExit(f"{command} did not become ready")
            time.sleep(0.05)
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        print(f"\n{model}: ready after {time.monotonic() - started:.1f} s, {resident / 1024:.0f} MiB resident")
        yield f"http://127.0.0.1:{port}/v1/models/{model}:predict"
    finally:
        process.terminate()
        process.wait(30)


def is_ready(port: int, model: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", f"/v1/models/{model}")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def compare_servers(options: argparse.Namespace, body: bytes) -> list[Bound]:
    given = {PREDICTOR: options.url, UNLOGGED: options.unlogged_url, EMPTY: options.empty_url}
    urls = {label: url for label, url in given.items() if url}
    connections = {label: connect(url, body) for label, url in urls.items()}
    for call in [call for call in connections.values() for _ in range(50)]:
        call()
    print(
        f"\nHTTP at {options.rate} requests a second each, {options.rounds} rounds of {options.seconds} s, milliseconds"
    )
    taken: dict[str, list[NDArray[np.float64]]] = {label: [] for label in urls}
    for _ in range(options.rounds):
        for label, latencies in measure(connections, options.rate, options.seconds).items():
            taken[label].append(latencies)
    all_of = {label: np.concatenate(rounds) for label, rounds in taken.items()}
    for label, latencies in all_of.items():
        print(f"  {label:<42} {show(latencies)}")
    for label in (label for label in all_of if EMPTY in all_of and label != EMPTY):
        ratios = np.percentile(all_of[label], [50, 95, 99]) / np.percentile(all_of[EMPTY], [50, 95, 99])
        print("  {:<42} p50 {:7.3f}  p95 {:7.3f}  p99 {:7.3f}".format(f"{label}, ratio", *ratios))
    return list(bounds_of({label: float(np.percentile(latencies, 95)) for label, latencies in all_of.items()}))


def bounds_of(p95: Mapping[str, float]) -> Iterator[Bound]:
    """Of seconds. The rival is not logged: beside it stands what is asked past KServe's logger."""
    for label in (label for label in p95 if label != EMPTY):
        yield Bound(f"milliseconds at p95, {label}", p95[label] * 1000, most=MILLISECONDS)
    if EMPTY in p95:
        label = UNLOGGED if UNLOGGED in p95 else PREDICTOR
        yield Bound(f"times as long as the {EMPTY} at p95, {label}", p95[label] / p95[EMPTY], most=TIMES_AS_LONG)


def compare_protocols(options: argparse.Namespace, instance: dict[str, Any], grpc_port: int, batched: str) -> None:
    """One row by each protocol, on a connection each."""
    inputs = [
        InferInput(name, [1], "BYTES" if isinstance(value, str) else "FP64", [value])
        for name, value in instance.items()
    ]
    request = InferRequest("telco", inputs)
    v1, plain = json.dumps({"instances": [instance]}).encode(), json.dumps(instance).encode()
    v2 = json.dumps(request.to_rest()[0]).encode()
    host = options.url.partition("/v1/")[0]
    channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
    stub, message = GRPCInferenceServiceStub(channel), request.to_grpc()
    calls: dict[str, Callable[[], object]] = {
        "V1": connect(options.url, v1),
        "POST /predict": connect(f"{host}/predict", plain),
        "V2 over REST": connect(f"{host}/v2/models/telco/infer", v2),
        "V2 over gRPC": lambda: stub.ModelInfer(message),
        "V1, in batches of up to 32 rows or 1 ms": connect(batched, v1),
    }
    for call in [call for call in calls.values() for _ in range(50)]:
        call()
    rounds = [measure(calls, options.rate // 2, options.seconds) for _ in range(options.rounds)]
    print(f"\nOne row by each protocol at {options.rate // 2} requests a second each, milliseconds")
    medians = {label: float(np.median(np.concatenate([taken[label] for taken in rounds]))) for label in calls}
    for label in calls:
        latencies = np.concatenate([taken[label] for taken in rounds])
        print(f"  {label:<42} {show(latencies)}   {medians[label] / medians['V1']:6.2f} x")


def connect(url: str, body: bytes) -> Callable[[], None]:
    """A request on a connection of its own, kept open; anything but 200 ends the benchmark."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=10)
    headers = {"content-type": "application/json", "host": parts.netloc}

    def call() -> None:
        connection.request("POST", parts.path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{url} answered {answer.status}: {text[:200]!r}")

    return call


def measure(calls: Mapping[str, Callable[[], object]], rate: int, seconds: int) -> dict[str, NDArray[np.float64]]:
    """Latencies in seconds, each label's requests spread evenly between the others'."""
    step = 1 / (rate * len(calls))
    due = time.perf_counter() + step
    taken: dict[str, list[float]] = {label: [] for label in calls}
    for _ in range(rate * seconds):
        for label, call in calls.items():
            time.sleep(max(0.0, due - time.perf_counter()))
            call()
            taken[label].append(time.perf_counter() - due)
            due += step
    return {label: np.array(latencies) for label, latencies in taken.items()}


def show(seconds: NDArray[np.float64]) -> str:
    p50, p95, p99 = np.percentile(seconds * 1000, [50, 95, 99])
    return f"p50 {p50:7.3f}  p95 {p95:7.3f}  p99 {p99:7.3f}"


if __name__ == "__main__":
    sys.exit(main())
