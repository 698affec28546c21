"""`python -m churn_operator.jobs` leaves a result, a log and an exit code that the operator understands."""

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.jobs.conftest import Trained
from unit.jobs.making import train_task

from churn_operator.api.base import Model
from churn_operator.api.tasks import EXIT_REFUSED, EXIT_UNAVAILABLE, ChampionRef, DriftTask, LabelsTask, ShadowTask
from churn_operator.jobs import logs
from churn_operator.jobs.__main__ import main


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was() -> Iterator[None]:
    handler, level = signal.getsignal(signal.SIGTERM), logging.getLogger("churn_operator").level
    yield
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger("churn_operator").setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The termination message."""
    path = tmp_path / "termination-log"
    monkeypatch.setenv("TERMINATION_LOG", str(path))
    return path


def written(folder: Path, task: Any) -> str:
    path = folder / "task.json"
    path.write_text(json.dumps(task))
    return str(path)


def probe(folder: Path, uri: object) -> str:
    return written(folder, {"kind": "Probe", "source": {"uri": str(uri)}})


def test_a_probe_leaves_the_revision(tmp_path: Path, message: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    assert main(["probe", probe(tmp_path, tmp_path / "t.csv")]) == 0
    result = json.loads(message.read_text())
    assert result["outcome"] == "Probed"
    assert result["revision"].startswith("sha256:")


def test_without_a_termination_message_the_result_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERMINATION_LOG", raising=False)
    monkeypatch.setattr("churn_operator.jobs.__main__.TERMINATION_PATH", str(tmp_path / "none"))
    (tmp_path / "t.csv").write_text("a\n1\n")
    main(["probe", probe(tmp_path, tmp_path / "t.csv")])
    assert json.loads(capsys.readouterr().out)["outcome"] == "Probed"


def test_kubernetes_message_is_written_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERMINATION_LOG", raising=False)
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr("churn_operator.jobs.__main__.TERMINATION_PATH", str(path))
    (tmp_path / "t.csv").write_text("a\n1\n")
    main(["probe", probe(tmp_path, tmp_path / "t.csv")])
    assert json.loads(path.read_text())["outcome"] == "Probed"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("verb", "task", "code", "expected"),
    [
        pytest.param(
            "probe",
            {"source": {"uri": "/nowhere/t.csv"}},
            EXIT_REFUSED,
            "DataNotFound: there is no file at /nowhere/t.csv",
            id="data that is not there",
        ),
        pytest.param(
            "probe",
            {"source": {"uri": "http://127.0.0.1:9/t.csv"}},
            EXIT_UNAVAILABLE,
            "DataUnreachable: http://127.0.0.1:9/t.csv does not answer",
            id="a source that is away",
        ),
        pytest.param(
            "train",
            train_task(Path("unused"), "http://127.0.0.1:9").to_dict(),
            EXIT_UNAVAILABLE,
            "TrackingUnavailable: MLflow does not answer",
            id="an MLflow that is away",
        ),
        pytest.param("probe", {"source": 3}, EXIT_REFUSED, "task.json is no ProbeTask", id="a task of another kind"),
        pytest.param(
            "fetch",
            {"model": {"uri": "/nowhere/x", "digest": f"sha256:{'0' * 64}"}, "destination": "/nowhere/out"},
            EXIT_REFUSED,
            "ModelCorrupt: there is no file at /nowhere/x/manifest.json",
            id="a model that is not there",
        ),
    ],
)
def test_a_failure_is_the_message_and_its_class_the_exit_code(
    verb: str, task: Any, code: int, expected: str, tmp_path: Path, message: Path
) -> None:
    assert main([verb, written(tmp_path, task)]) == code
    failure = json.loads(message.read_text())
    assert failure["outcome"] == "Failed"
    assert expected in f"{failure['reason']}: {failure['message']}"


def test_an_object_store_that_is_away_is_unavailable(
    tmp_path: Path, message: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    assert main(["fetch", f"s3://models/{'0' * 64}", str(tmp_path / "out")]) == EXIT_UNAVAILABLE
    assert json.loads(message.read_text())["reason"] == "StorageUnavailable"


def test_a_task_that_is_not_there_is_refused(tmp_path: Path, message: Path) -> None:
    assert main(["probe", str(tmp_path / "task.json")]) == EXIT_REFUSED
    assert "the task cannot be read" in json.loads(message.read_text())["message"]


def test_what_nobody_foresaw_is_traced_and_ends_with_its_last_line(
    tmp_path: Path, message: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(_: object) -> None:
        raise ZeroDivisionError("first line\nlast line " + "x" * 2000)

    monkeypatch.setattr("churn_operator.jobs.probe.probe", break_down)
    assert main(["probe", probe(tmp_path, "x.csv")]) == 1
    failure = json.loads(message.read_text())
    assert failure["reason"] == "JobFailed"
    assert failure["message"].startswith("last line xxx")
    assert len(failure["message"]) == 1024
    assert "Traceback" in caplog.text


def test_an_error_without_words_is_called_by_its_name(
    tmp_path: Path, message: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_: object) -> None:
        raise KeyError

    monkeypatch.setattr("churn_operator.jobs.probe.probe", break_down)
    assert main(["probe", probe(tmp_path, "x.csv")]) == 1
    assert json.loads(message.read_text())["message"] == "KeyError"


def test_being_told_to_stop_ends_as_an_exception_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def work(_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            closed.append(True)

    monkeypatch.setattr("churn_operator.jobs.probe.probe", work)
    with pytest.raises(SystemExit) as stopped:
        main(["probe", probe(tmp_path, "x.csv")])
    assert (stopped.value.code, closed) == (143, [True])


@pytest.mark.usefixtures("message")
def test_each_line_of_the_log_is_json_and_says_whose_job_it_is(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = written(tmp_path, trained.task.to_dict())
    (line,) = logged(capsys, lambda: main(["train", task]))
    assert line == {
        "time": line["time"], "level": "info", "logger": "churn_operator.jobs.train", "namespace": "ml",
        "model": "telco", "run": "telco-1", "message": "an earlier attempt came to this run's result",
    }  # fmt: skip


OWNED: Any = {"namespace": "ml", "churn_model": "telco"}
V3: Any = {"version": "v3"}


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(DriftTask.model_construct(**OWNED, **V3), id="drift of the champion"),
        pytest.param(ShadowTask.model_construct(**OWNED, **V3), id="a challenger that is asked"),
        pytest.param(
            LabelsTask.model_construct(**OWNED, challenger=ChampionRef.model_construct(**V3)),
            id="decisions of a challenger",
        ),
    ],
)
def test_where_a_job_is_about_a_version_its_log_says_which(task: Model, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        logs.configure()
        logs.know(task)
        logging.getLogger("evidently").warning("hot")

    (line,) = logged(capsys, work)
    assert line.items() >= {"namespace": "ml", "model": "telco", "version": "v3", "message": "hot"}.items()


@pytest.mark.usefixtures("message")
def test_what_libraries_warn_of_and_what_nobody_foresaw_are_lines_of_json_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: object) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("two\nlines", stacklevel=1)
        logging.getLogger("evidently").warning("of %d columns", 3)
        logging.getLogger("evidently").info("nobody asked")
        raise ZeroDivisionError

    monkeypatch.setattr("churn_operator.jobs.probe.probe", work)
    task = probe(tmp_path, "x.csv")
    warned, told, broke = logged(capsys, lambda: main(["probe", task]))
    assert (warned["logger"], warned["level"]) == ("py.warnings", "warning")
    assert "UserWarning:" in warned["message"]
    assert "two\nlines" in warned["message"]
    assert (told["logger"], told["message"]) == ("evidently", "of 3 columns")
    assert (broke["level"], broke["error"].splitlines()[-1]) == ("error", "ZeroDivisionError")
    assert {"namespace", "model"}.isdisjoint(told), "a probe knows an address only"


def logged(capsys: pytest.CaptureFixture[str], work: Callable[[], object]) -> list[dict[str, str]]:
    """What the work logs where pytest has no handlers of its own, as in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.root, "handlers", [])
        work()
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize("verb", ["train", "drift"])
def test_the_heavy_verbs_are_reached(verb: str, trained: Trained, tmp_path: Path, message: Path) -> None:
    """Both end at once: the run has a result, and the window was judged."""
    revision = trained.result.data.revision
    window = {
        "namespace": "ml", "monitor": "telco", "churnModel": "telco", "uid": "u", "version": "v1", "tests": {},
        "experiment": "telco", "model": trained.result.model.to_dict(), "source": trained.task.data.source.to_dict(),
        "lastRevision": revision, "trackingUri": trained.task.tracking_uri,
    }  # fmt: skip
    task = trained.task.to_dict() if verb == "train" else window
    assert main([verb, written(tmp_path, task)]) == 0
    assert json.loads(message.read_text())["outcome"] == ("Trained" if verb == "train" else "Unchanged")


def test_fetch_is_an_init_container_too(trained: Trained, tmp_path: Path) -> None:
    """In a process of its own: nothing heavy is imported, and nothing is printed but the log."""
    destination = tmp_path / "models"
    command = [sys.executable, "-X", "importtime", "-m", "churn_operator.jobs", "fetch"]
    done = subprocess.run(
        [*command, trained.result.model.uri, str(destination)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "5 files of" in json.loads(done.stderr.splitlines()[-1])["message"]
    assert "pandas" not in done.stderr
    assert "numpy" not in done.stderr
    assert {path.name for path in destination.iterdir()} == {
        "manifest.json", "model.onnx", "contract.json", "profile.json", "golden.json"
    }  # fmt: skip


def test_what_aborts_as_the_interpreter_ends_does_not_turn_a_result_into_a_failure(tmp_path: Path) -> None:
    """Threads of libraries do, once in some hundred Jobs."""
    (tmp_path / "t.csv").write_text("a\n1\n")
    job = a_job_that_aborts_at_its_end(tmp_path, "probe", probe(tmp_path, tmp_path / "t.csv"))
    result, log = job.communicate(timeout=60)
    assert job.returncode == 0, log
    assert json.loads(result)["outcome"] == "Probed"


def test_what_aborts_as_the_interpreter_ends_does_not_hide_that_a_job_was_told_to_stop(tmp_path: Path) -> None:
    """That Job is tried again, and an aborted one is not."""
    task = tmp_path / "task.json"
    os.mkfifo(task)
    job = a_job_that_aborts_at_its_end(tmp_path, "probe", str(task))
    with task.open("w"):  # it is open as soon as the Job reads it, and then the Job listens to signals
        job.terminate()
        _, log = job.communicate(timeout=60)
    assert job.returncode == 128 + signal.SIGTERM, log


def a_job_that_aborts_at_its_end(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    (folder / "sitecustomize.py").write_text("import atexit, os\natexit.register(os.abort)\n")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "churn_operator.jobs", *arguments]
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
