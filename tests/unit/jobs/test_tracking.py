"""What a real MLflow server is told, once for each owner's UID."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from churn_operator.api.reasons import Reason
from churn_operator.api.results import decode_result
from churn_operator.api.tasks import OWNER_TAG, PROGRESS_TAG, RESULT_TAG, UID_TAG, JobFailure, Progress
from churn_operator.jobs.mlflow import Declined, Mlflow
from churn_operator.jobs.tracking import REASON_TAG, Tracker, Version, open_run
from churn_operator.storage.failure import JobError, Refused, Unavailable

NUMBERS = count()


@pytest.fixture
def experiment() -> str:
    return f"experiment-{next(NUMBERS)}"


def opened(uri: str, experiment: str, uid: str = "uid-1", *, finished: bool = True) -> Tracker:
    return open_run(uri, experiment, name="run-1", uid=uid, tags={"a": "b"}, finished=finished)


def run(uri: str, tracker: Tracker) -> dict[str, Any]:
    """The run as MLflow has it, its lists as dicts."""
    found = Mlflow(uri).get("runs/get", run_id=tracker.run_id)["run"]
    data = {kind: {e["key"]: e["value"] for e in found["data"].get(kind, [])} for kind in ("tags", "params", "metrics")}
    return {"status": found["info"]["status"], "name": found["info"]["run_name"], "inputs": found["inputs"], **data}


class TestRun:
    def test_it_carries_name_tags_and_uid(self, mlflow: str, experiment: str) -> None:
        found = run(mlflow, opened(mlflow, experiment))
        assert (found["status"], found["name"]) == ("RUNNING", "run-1")
        assert found["tags"].items() >= {"a": "b", UID_TAG: "uid-1"}.items()

    def test_a_second_attempt_finds_the_first_ones(self, mlflow: str, experiment: str) -> None:
        first = opened(mlflow, experiment)
        first.fail(Refused(Reason.DataEmpty, "no rows"))
        again = opened(mlflow, experiment)
        assert again.run_id == first.run_id
        assert run(mlflow, again)["status"] == "RUNNING"
        assert opened(mlflow, experiment, "uid-2").run_id != first.run_id

    def test_a_run_with_a_result_is_found_and_left_closed(self, mlflow: str, experiment: str) -> None:
        first = opened(mlflow, experiment)
        first.finish(JobFailure(reason="x", message="y"))
        again = opened(mlflow, experiment)
        assert again.run_id == first.run_id
        assert again.result is not None
        assert decode_result(again.result) == '{"outcome":"Failed","reason":"x","message":"y"}'
        assert run(mlflow, again)["status"] == "FINISHED"

    def test_a_monitor_opens_another_for_the_next_window(self, mlflow: str, experiment: str) -> None:
        first = opened(mlflow, experiment, finished=False)
        assert opened(mlflow, experiment, finished=False).run_id == first.run_id
        first.finish(JobFailure(reason="x", message="y"))
        assert opened(mlflow, experiment, finished=False).run_id != first.run_id

    def test_a_failure_closes_it_with_reason_and_message(self, mlflow: str, experiment: str) -> None:
        tracker = opened(mlflow, experiment)
        tracker.fail(Refused(Reason.OneClass, "all No"))
        found = run(mlflow, tracker)
        assert (found["status"], found["tags"][REASON_TAG]) == ("FAILED", "OneClass")
        assert found["tags"]["mlflow.note.content"] == "all No"

    def test_what_nobody_foresaw_closes_it_too(self, mlflow: str, experiment: str) -> None:
        tracker = opened(mlflow, experiment)
        tracker.fail(ZeroDivisionError("by zero"))
        assert run(mlflow, tracker)["tags"][REASON_TAG] == "JobFailed"

    def test_a_stop_closes_it_as_killed(self, mlflow: str, experiment: str) -> None:
        tracker = opened(mlflow, experiment)
        tracker.fail(SystemExit(143))
        assert run(mlflow, tracker)["status"] == "KILLED"

    def test_the_result_is_left_as_a_tag(self, mlflow: str, experiment: str) -> None:
        tracker = opened(mlflow, experiment)
        tracker.finish(JobFailure(reason="x", message="y"))
        found = run(mlflow, tracker)
        assert found["tags"][RESULT_TAG] == '{"outcome":"Failed","reason":"x","message":"y"}'
        assert Progress.model_validate_json(found["tags"][PROGRESS_TAG]).percent == 100

    def test_values_and_the_data_set_are_logged_however_many(self, mlflow: str, experiment: str) -> None:
        tracker = opened(mlflow, experiment)
        tracker.log(params={"C": 1, "long": "x" * 9000}, metrics={f"m{n}": n / 2 for n in range(1200)}, tags={"t": "1"})
        tracker.dataset(name="telco", digest=f"sha256:{'ab' * 32}", source="{}", context="training", profile="{}")
        found = run(mlflow, tracker)
        assert (found["params"]["C"], len(found["params"]["long"]), found["tags"]["t"]) == ("1", 6000, "1")
        assert len(found["metrics"]) == 1200
        assert found["metrics"]["m1199"] == 599.5
        dataset = found["inputs"]["dataset_inputs"][0]
        assert (dataset["dataset"]["name"], dataset["dataset"]["digest"]) == ("telco", "ab" * 18)
        assert dataset["tags"] == [{"key": "mlflow.data.context", "value": "training"}]


class TestProgress:
    def test_it_is_told_once_a_second_with_a_guess_of_what_is_left(self, mlflow: str, experiment: str) -> None:
        made = Mlflow(mlflow).get("runs/get", run_id=opened(mlflow, experiment).run_id)["run"]
        now = [100.0]
        tracker = Tracker(Mlflow(mlflow), made, clock=lambda: now[0])

        def told(percent: int) -> Progress:
            tracker.progress(percent, "search", 0.8)
            return Progress.model_validate_json(run(mlflow, tracker)["tags"][PROGRESS_TAG])

        assert told(0) == Progress(percent=0, step="search", metric=0.8)
        now[0] = 100.9
        assert told(10).percent == 0
        now[0] = 110.0
        assert told(25) == Progress(percent=25, step="search", metric=0.8, eta_seconds=30)

    @pytest.mark.usefixtures("impatient")
    def test_a_server_that_is_away_for_a_while_ends_nothing(
        self, mlflow: str, experiment: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        made = Mlflow(mlflow).get("runs/get", run_id=opened(mlflow, experiment).run_id)["run"]
        Tracker(Mlflow("http://127.0.0.1:9"), made).progress(10, "search")
        assert "progress could not be told: MLflow does not answer" in caplog.text


class TestRegistry:
    def registered(self, tracker: Tracker, name: str) -> str:
        tracker.own(name, "ml/telco")
        return tracker.register(Version(name, {"k": "v"}, "a description"), "model")

    def known(self, uri: str, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = Mlflow(uri).get("model-versions/search", filter=f"name = '{name}'")[
            "model_versions"
        ]
        return found

    def test_a_run_registers_one_version_however_often_it_is_tried(self, mlflow: str, experiment: str) -> None:
        tracker = opened(mlflow, experiment)
        assert self.registered(tracker, experiment) == "1"
        assert self.registered(opened(mlflow, experiment), experiment) == "1"
        (version,) = self.known(mlflow, experiment)
        assert version["tags"] == [{"key": "k", "value": "v"}]
        assert version["source"].endswith(f"{tracker.run_id}/artifacts/model")
        assert version["run_id"] == tracker.run_id

    def test_the_next_run_registers_the_next(self, mlflow: str, experiment: str) -> None:
        assert self.registered(opened(mlflow, experiment, "uid-1"), experiment) == "1"
        assert self.registered(opened(mlflow, experiment, "uid-2"), experiment) == "2"

    def test_somebody_elses_name_is_refused(self, mlflow: str, experiment: str) -> None:
        tracker = opened(mlflow, experiment)
        tracker.own(experiment, "ml/telco")
        with pytest.raises(Refused, match="belongs to ml/telco; it must be other/telco's") as refused:
            tracker.own(experiment, "other/telco")
        assert refused.value.reason is Reason.RegistryNameTaken

    def test_a_name_that_nobody_tagged_is_refused(self, mlflow: str, experiment: str) -> None:
        Mlflow(mlflow).post("registered-models/create", {"name": experiment})
        with pytest.raises(Refused, match=f"has no tag {OWNER_TAG}"):
            opened(mlflow, experiment).own(experiment, "ml/telco")

    def test_a_name_that_mlflow_does_not_take_is_said(self, mlflow: str, experiment: str) -> None:
        with pytest.raises(Declined, match="INVALID_PARAMETER_VALUE"):
            opened(mlflow, experiment).own("a/b:c", "ml/telco")


class TestExperiment:
    def test_two_jobs_share_one(self, mlflow: str, experiment: str) -> None:
        first, second = opened(mlflow, experiment, "1"), opened(mlflow, experiment, "2")
        assert first.experiment_id == second.experiment_id

    def test_the_slower_of_two_that_make_it_takes_the_others(
        self, mlflow: str, experiment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = opened(mlflow, experiment, "1")
        real, asked = Mlflow.get, count()

        def get(server: Mlflow, path: str, **query: str) -> Any:
            if next(asked) == 0:
                raise Declined("RESOURCE_DOES_NOT_EXIST", "not yet")
            return real(server, path, **query)

        monkeypatch.setattr(Mlflow, "get", get)
        assert opened(mlflow, experiment, "2").experiment_id == first.experiment_id

    @pytest.mark.parametrize("method", ["get", "post"])
    def test_one_that_mlflow_does_not_take_is_said(
        self, mlflow: str, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def decline(*_: object, **__: object) -> None:
            raise Declined("INVALID_PARAMETER_VALUE", "no such name")

        monkeypatch.setattr(Mlflow, method, decline)
        with pytest.raises(Declined, match="no such name"):
            opened(mlflow, "never seen")

    def test_a_deleted_one_is_not_used(self, mlflow: str, experiment: str) -> None:
        tracker = opened(mlflow, experiment)
        Mlflow(mlflow).post("experiments/delete", {"experiment_id": tracker.experiment_id})
        with pytest.raises(Refused, match=f"experiment '{experiment}' is deleted in MLflow: restore it"):
            opened(mlflow, experiment)


class Answers:
    """A server that gives one answer to everything, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.headers: list[dict[str, str]] = []
        self.url = ""


@pytest.fixture
def answers() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.headers.append(dict(self.headers))
            self.send_response(answers.status)
            self.end_headers()
            self.wfile.write(answers.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        answers.url = f"http://127.0.0.1:{server.server_port}"
        yield answers
        server.shutdown()


class TestServer:
    @pytest.mark.parametrize(
        ("status", "body", "kind", "message"),
        [
            pytest.param(500, b"", Unavailable, "answers 500", id="broken"),
            pytest.param(401, b"", Refused, r"refuses the credentials \(401\)", id="credentials"),
            pytest.param(403, b"", Refused, r"refuses the credentials \(403\)", id="permission"),
            pytest.param(404, b"<html>", Unavailable, "not as MLflow does", id="another server"),
            pytest.param(404, b"[]", Unavailable, "not as MLflow does", id="other json"),
            pytest.param(200, b"<html>", Unavailable, "not as MLflow does", id="a login page"),
        ],
    )
    def test_an_answer_that_is_not_mlflows_is_its_fault(
        self, answers: Answers, status: int, body: bytes, kind: type[JobError], message: str
    ) -> None:
        answers.status, answers.body = status, body
        with pytest.raises(kind, match=message) as error:
            opened(answers.url, "telco")
        assert error.value.reason is Reason.TrackingUnavailable

    @pytest.mark.usefixtures("impatient")
    def test_a_server_that_is_away_is_unavailable(self) -> None:
        with pytest.raises(Unavailable, match="MLflow does not answer") as error:
            opened("http://127.0.0.1:9", "telco")
        assert error.value.reason is Reason.TrackingUnavailable

    @pytest.mark.parametrize(
        ("environment", "expected"),
        [
            pytest.param({"USERNAME": "me", "PASSWORD": "it"}, "Basic bWU6aXQ=", id="a password"),
            pytest.param({"TOKEN": "abc"}, "Bearer abc", id="a token"),
            pytest.param({}, None, id="nothing"),
        ],
    )
    def test_credentials_are_those_of_mlflows_client(
        self, answers: Answers, environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
        Mlflow(answers.url).get("experiments/get-by-name", experiment_name="x")
        assert answers.headers[0].get("Authorization") == expected

    @pytest.mark.usefixtures("impatient")
    def test_a_failure_that_cannot_be_told_is_only_logged(
        self, mlflow: str, experiment: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        made = Mlflow(mlflow).get("runs/get", run_id=opened(mlflow, experiment).run_id)["run"]
        Tracker(Mlflow("http://127.0.0.1:9"), made).fail(ZeroDivisionError("x"))
        assert "the run could not be closed: MLflow does not answer" in caplog.text

    def test_artifacts_go_straight_to_a_store_that_mlflow_does_not_proxy(self, tmp_path: Path) -> None:
        Mlflow("http://127.0.0.1:9").upload(f"{tmp_path}/1/artifacts", "model/a b.json", b"{}")
        assert (tmp_path / "1" / "artifacts" / "model" / "a b.json").read_bytes() == b"{}"
