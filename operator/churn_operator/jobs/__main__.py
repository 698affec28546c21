"""`python -m churn_operator.jobs probe|train|drift|shadow|fetch TASK.json`, and `fetch s3://…/<hex> FOLDER`.

The result, or the JobFailure, goes to the container's termination message, else to standard output; the log goes to
standard error. A result over RESULT_LIMIT bytes is packed as `api.results` says.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import ValidationError

from churn_operator.api.base import Model
from churn_operator.api.reasons import Reason
from churn_operator.api.results import encode_result
from churn_operator.api.tasks import (
    TERMINATION_PATH,
    DriftTask,
    FetchTask,
    JobFailure,
    LabelsTask,
    ProbeTask,
    ShadowTask,
    TrainTask,
)
from churn_operator.jobs import logs
from churn_operator.storage.failure import JobError, Refused, shorten

log = logging.getLogger("churn_operator.jobs")
T = TypeVar("T", bound=Model)


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0, EXIT_REFUSED, EXIT_UNAVAILABLE, or 1 for what nobody foresaw."""
    asked = _parser().parse_args(arguments)
    logs.configure()
    signal.signal(signal.SIGTERM, _stop)
    try:
        result = _VERBS[asked.verb](asked.task, asked.destination)
    except JobError as error:
        log.error("%s: %s", error.reason, error.message)  # noqa: TRY400 - the message is the explanation
        _deliver(error.to_failure())
        return error.exit_code
    except Exception as error:
        log.exception("unexpected")
        lines = str(error).strip().splitlines()
        _deliver(JobFailure(reason=Reason.JobFailed, message=shorten(lines[-1] if lines else type(error).__name__)))
        return 1
    if result is not None:
        _deliver(result)
    return 0


def _stop(number: int, _: object) -> None:
    """Ends as an exception does, so that the MLflow run is closed: the first process of a container gets no default."""
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m churn_operator.jobs", description=__doc__)
    parser.add_argument("verb", choices=sorted(_VERBS))
    parser.add_argument("task", help="path of the task's JSON; for fetch also the address of a model's folder")
    parser.add_argument("destination", nargs="?", help="folder that fetch writes to, where the task is an address")
    return parser


def _probe(task: str, _: str | None) -> Model:
    from churn_operator.jobs.probe import probe

    return probe(_read(ProbeTask, task))


def _train(task: str, _: str | None) -> Model:
    from churn_operator.jobs.train import train

    return train(_read(TrainTask, task))


def _drift(task: str, _: str | None) -> Model:
    from churn_operator.jobs.drift import drift

    return drift(_read(DriftTask, task))


def _shadow(task: str, _: str | None) -> Model:
    from churn_operator.jobs.shadow import shadow

    return shadow(_read(ShadowTask, task))


def _labels(task: str, _: str | None) -> Model:
    from churn_operator.jobs.labels import labels

    return labels(_read(LabelsTask, task))


def _fetch(task: str, destination: str | None) -> None:
    from churn_operator.jobs.fetch import fetch
    from churn_operator.storage.bundle import reference

    if destination is None:
        fetch(_read(FetchTask, task))
    else:
        fetch(FetchTask(model=reference(task), destination=destination))


_VERBS: dict[str, Callable[[str, str | None], Model | None]] = {
    "probe": _probe,
    "train": _train,
    "drift": _drift,
    "shadow": _shadow,
    "labels": _labels,
    "fetch": _fetch,
}


def _read(kind: type[T], path: str) -> T:
    try:
        task = kind.model_validate_json(Path(path).read_text())
    except OSError as error:
        raise Refused(Reason.JobFailed, f"the task cannot be read: {error}") from error
    except ValidationError as error:
        raise Refused(Reason.JobFailed, f"{path} is no {kind.__name__}: {error}") from error
    logs.know(task)
    return task


def _deliver(result: Model) -> None:
    text = encode_result(result)
    path = os.environ.get("TERMINATION_LOG") or TERMINATION_PATH
    if "TERMINATION_LOG" in os.environ or Path(path).exists():
        Path(path).write_text(text)
    else:
        sys.stdout.write(text + "\n")


def _leave(code: int) -> NoReturn:
    """End here and now: what was found is delivered, and an exit code says what is to follow.

    As the interpreter ends, a library's threads may come upon what is gone already, and abort the process: a failure
    although the work is done. Most likely it is what three processes did while 793 Jobs ran.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    try:
        code = main()
    except SystemExit as told:
        code = told.code if isinstance(told.code, int) else 1
    _leave(code)
