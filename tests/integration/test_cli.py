"""`kubectl churn` against a real API server. The operator does not run: what it would write is written for it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hack.bench.ports import free_port
from support.control_plane import ROOT, ControlPlane
from support.kinds import EARLIER
from support.shell import (
    BACK,
    DIGEST,
    DRIFTED,
    OTHER,
    SERVING,
    SHIFTING,
    SPEC,
    WAITING,
    Person,
    Played,
    run_spec,
)

from churn_operator.api.digest import evidence_digest
from churn_operator.api.trainingrun import TrainingRunStatus
from churn_operator.cli import ask, orders

DEADLINE = 30.0


@pytest.fixture
def played(control_plane: ControlPlane, namespace: str) -> Played:
    return Played(control_plane, namespace)


@pytest.fixture
def bob(control_plane: ControlPlane, namespace: str) -> Person:
    """Somebody who may do everything; the API server knows him as `second`."""
    return Person(control_plane.kubeconfig("second"), namespace)


@pytest.fixture
def nobody(control_plane: ControlPlane, namespace: str) -> Person:
    return Person(control_plane.kubeconfig("nobody"), namespace)


@pytest.fixture
def telco(played: Played) -> Played:
    """A model that serves, with a canary on its way."""
    played.makes("ChurnModel", "telco", SPEC, SHIFTING)
    return played


@pytest.fixture
def waiting(played: Played) -> Played:
    """A run that waits for approval, asked for by alice."""
    played.makes("ChurnModel", "telco", SPEC, SERVING)
    played.makes("TrainingRun", "telco-3", run_spec(), WAITING)
    return played


def meanwhile(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_status_draws_what_the_cluster_has_of_a_model(telco: Played, bob: Person) -> None:
    telco.makes("TrainingRun", "telco-3", run_spec(), WAITING)
    telco.makes("DriftMonitor", "telco", {"modelRef": {"name": "telco"}}, DRIFTED)
    said = bob.types("status", "telco")
    assert said.code == 0, said.err
    assert f"ChurnModel {bob.namespace}/telco: RollingOut, Ready True" in said.out
    for expected in ("v2: asked 10 %, read back 10 %, counted 9 %", "Approval: telco-3", DIGEST, "DriftDetected"):
        assert expected in said.out
    assert "\x1b" not in said.out


def test_status_prints_one_json_document(telco: Played, bob: Person) -> None:
    telco.makes("TrainingRun", "telco-3", run_spec(), WAITING)
    found = bob.types("status", "telco", "-o", "json").json
    assert (found["name"], found["champion"], found["rollout"]["weight"]) == ("telco", "v1", 10)
    assert [run["evidenceDigest"] for run in found["approvals"]] == [DIGEST]


def test_a_watch_draws_again_at_each_change_and_ends_quietly_with_ctrl_c(telco: Played, bob: Person) -> None:
    process = bob.starts("status", "telco", "--watch", "-o", "json")
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["rollout"]["step"] == 1
        telco.says("ChurnModel", "telco", SHIFTING | {"rollout": SHIFTING["rollout"] | {"step": 2, "weight": 50}})
        assert json.loads(process.stdout.readline())["rollout"]["step"] == 2
        telco.makes("TrainingRun", "telco-3", run_spec())
        assert [run["name"] for run in json.loads(process.stdout.readline())["runs"]] == ["telco-3"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_watch_outlives_the_api_server(telco: Played, bob: Person) -> None:
    process = bob.starts("status", "telco", "--watch", "-o", "json")
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["rollout"]["step"] == 1
        telco.plane.stop_api_server()
        telco.plane.start_api_server()
        telco.says("ChurnModel", "telco", SERVING)
        assert json.loads(process.stdout.readline())["phase"] == "Serving"
    finally:
        process.kill()
        process.communicate()


def test_a_watch_ends_when_the_model_is_deleted(telco: Played, bob: Person) -> None:
    process = bob.starts("status", "telco", "--watch")
    assert process.stdout is not None
    try:
        assert "ctrl-c ends the watch" in process.stdout.readline()
        telco.plane.kubectl("-n", telco.namespace, "delete", "chm", "telco")
        _, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert (process.returncode, err) == (2, "ChurnModel telco was deleted.\n")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        pytest.param(SERVING, 0, "Ready: v1 answers", id="serves"),
        pytest.param(SHIFTING, 1, "v2 is rolling out: Step 1 of 2.", id="a canary"),
        pytest.param(BACK, 1, "Rolled back, AnalysisFailed: v2 failed: 5 % of errors.", id="rolled back"),
        pytest.param({}, 1, "has not looked at the latest spec", id="not seen by the operator"),
    ],
)
def test_check_answers_by_its_exit_code(
    played: Played, bob: Person, status: dict[str, Any], code: int, expected: str
) -> None:
    played.makes("ChurnModel", "telco", SPEC, status)
    said = bob.types("check", "telco")
    assert (said.code, said.err) == (code, "")
    assert expected in said.out


def test_check_waits_for_the_end_of_a_rollout(telco: Played, bob: Person) -> None:
    thread = meanwhile(lambda: telco.says("ChurnModel", "telco", SERVING))
    said = bob.types("check", "telco", "--wait", "--timeout", "30s", "-o", "json")
    thread.join()
    assert (said.code, said.json["ok"]) == (0, True)


def test_check_does_not_wait_for_what_cannot_come(telco: Played, bob: Person) -> None:
    thread = meanwhile(lambda: telco.says("ChurnModel", "telco", BACK))
    said = bob.types("check", "telco", "--wait", "--timeout", "30s")
    thread.join()
    assert (said.code, said.out) == (1, "Rolled back, AnalysisFailed: v2 failed: 5 % of errors.\n")


@pytest.mark.usefixtures("telco")
def test_check_says_what_it_waited_for_in_vain(bob: Person) -> None:
    said = bob.types("check", "telco", "--wait", "--timeout", "1s")
    assert (said.code, said.out) == (1, "Not after 1s. v2 is rolling out: Step 1 of 2.\n")


def test_a_report_goes_on_from_the_one_before_and_fails_where_history_was_rewritten(
    played: Played, bob: Person, tmp_path: Path
) -> None:
    played.makes("ChurnModel", "telco", SPEC, SERVING)
    played.makes("TrainingRun", "telco-3", run_spec(), offered())
    assert bob.types("approve", "telco-3", "--comment", "looks good", "--yes").code == 0
    played.says("TrainingRun", "telco-3", accepted())
    first = bob.types("report", "telco", "-o", "json")
    assert first.code == 0, first.out
    assert [entry["what"] for entry in first.json["entries"] if entry.get("by") == "second"] == ["Approved"]
    kept = tmp_path / "report.json"
    kept.write_text(first.out)

    again = bob.types("report", "telco", "--after", str(kept), "-o", "json")
    assert (again.code, again.json["entries"]) == (0, first.json["entries"])
    shown = bob.types("report", "telco", "--after", str(kept)).out
    assert "second approved telco-3 on the evidence sha256:" in shown
    assert f"The last entry's hash is {first.json['head']}" in shown

    approval = played.sees("TrainingRun", "telco-3")["status"]["approval"]
    played.says("TrainingRun", "telco-3", accepted() | {"approval": approval | {"by": "mallory"}})
    rewritten = bob.types("report", "telco", "--after", str(kept))
    assert rewritten.code == 1
    assert "was told otherwise before: by was 'second' and is 'mallory'." in rewritten.out

    kept.write_text(first.out.replace("looks good", "looks bad"))
    assert bob.types("report", "telco", "--after", str(kept)).code == 1
    kept.write_text("no report")
    assert bob.types("report", "telco", "--after", str(kept)).code == 2


def offered() -> dict[str, Any]:
    """A run that waits, with the digest that its evidence has."""
    seen = TrainingRunStatus.model_validate(WAITING)
    assert seen.resolved is not None
    assert seen.result is not None
    return WAITING | {"evidenceDigest": evidence_digest(seen.resolved, seen.gates, seen.result, seen.verdicts)}


def accepted() -> dict[str, Any]:
    return offered() | {"phase": "Accepted", "version": "v3", "finishedAt": EARLIER}


def test_an_approval_is_asked_for_with_the_evidence_and_written_beside_what_the_operator_owns(
    waiting: Played, bob: Person
) -> None:
    said = bob.types("approve", "telco-3", "--comment", "looks good", answers="y\n")
    assert said.code == 0, said.err
    assert "gate quality Passed: roc_auc is 0.85" in said.out
    assert "roc_auc: 0.85 against the champion's 0.84" in said.out
    waiting.says("TrainingRun", "telco-3", WAITING)  # the operator's next apply leaves it alone
    live = waiting.sees("TrainingRun", "telco-3")
    approval = live["status"]["approval"]
    assert approval == {
        "decision": "Approved",
        "by": "second",
        "at": approval["at"],
        "evidenceDigest": DIGEST,
        "comment": "looks good",
    }
    assert len(approval["at"]) == len("2026-11-21T12:00:00Z")
    owners = {entry["manager"]: entry["fieldsV1"] for entry in live["metadata"]["managedFields"]}
    assert set(owners["kubectl-churn"]["f:status"]) == {"f:approval"}


def test_who_may_act_as_another_decides_in_their_name(waiting: Played, bob: Person, nobody: Person) -> None:
    assert bob.types("approve", "telco-3", "--yes", "--as", "eve").code == 3, "eve has no rights here"
    assert nobody.types("approve", "telco-3", "--yes", "--as", "second").code == 3, "nobody may not act as second"
    assert bob.types("approve", "telco-3", "--yes", "--as", "admin").code == 3, "a name alone brings no group along"
    role = ("create", "rolebinding", "eve", "--clusterrole=cluster-admin", "--user=eve")
    waiting.plane.kubectl("-n", waiting.namespace, *role)
    assert bob.types("approve", "telco-3", "--yes", "--as", "eve").code == 0
    assert waiting.sees("TrainingRun", "telco-3")["status"]["approval"]["by"] == "eve"


def test_a_rejection_is_written_with_its_reason(waiting: Played, bob: Person) -> None:
    said = bob.types("reject", "telco-3", "--reason", "too dear", "--yes", "-o", "json")
    assert said.json["approval"]["decision"] == "Rejected"
    written = waiting.sees("TrainingRun", "telco-3")["status"]["approval"]
    assert (written["decision"], written["comment"]) == ("Rejected", "too dear")


@pytest.mark.parametrize(
    ("words", "answers", "expected"),
    [
        pytest.param([], "n\n", "Nothing was written.", id="no"),
        pytest.param([], "", "Nothing was written: there is nobody to ask.", id="nobody there"),
        pytest.param(
            ["--digest", OTHER, "--yes"], None, "The offer has changed: telco-3 now offers", id="not reviewed"
        ),
    ],
)
def test_without_a_clear_yes_nothing_is_written(
    waiting: Played, bob: Person, words: list[str], answers: str | None, expected: str
) -> None:
    said = bob.types("approve", "telco-3", *words, answers=answers)
    assert said.code == 1
    assert expected in said.err
    assert "approval" not in waiting.sees("TrainingRun", "telco-3")["status"]


def test_ctrl_c_is_no_yes(waiting: Played, bob: Person) -> None:
    process = bob.starts("approve", "telco-3")
    assert process.stderr is not None
    try:
        while process.stderr.read(1) != "?":  # what the question ends with
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE)
        rest = process.stderr.read()
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, rest) == (1, " [y/N] \nNothing was written.\n")
    assert "approval" not in waiting.sees("TrainingRun", "telco-3")["status"]


def test_an_offer_that_changes_under_the_question_is_not_approved(
    waiting: Played, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def yes_but_late(_: str) -> None:
        waiting.says("TrainingRun", "telco-3", WAITING | {"evidenceDigest": OTHER})

    monkeypatch.setattr(ask, "sure", yes_but_late)
    said = bob.types("approve", "telco-3")
    assert (said.code, said.err) == (
        1,
        f"The offer has changed: telco-3 now offers {OTHER}, and {DIGEST} was reviewed.\n",
    )
    assert "approval" not in waiting.sees("TrainingRun", "telco-3")["status"]


def test_a_run_that_changes_otherwise_under_the_question_is_approved(
    waiting: Played, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def yes_but_late(_: str) -> None:
        waiting.says("TrainingRun", "telco-3", WAITING | {"metric": "0.8501"})

    monkeypatch.setattr(ask, "sure", yes_but_late)
    assert bob.types("approve", "telco-3").code == 0
    assert waiting.sees("TrainingRun", "telco-3")["status"]["approval"]["by"] == "second"


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        pytest.param(run_spec(), {"phase": "Running"}, "offers nothing to approve: it is Running", id="no offer"),
        pytest.param(run_spec(requestedBy="second"), WAITING, "You, second, asked for telco-3", id="one's own"),
    ],
)
def test_what_would_not_count_is_not_written(
    played: Played, bob: Person, spec: dict[str, Any], status: dict[str, Any], expected: str
) -> None:
    played.makes("TrainingRun", "telco-3", spec, status)
    said = bob.types("approve", "telco-3", "--yes")
    assert said.code == 1
    assert expected in said.err


@pytest.mark.usefixtures("waiting")
def test_a_decision_that_was_made_stays(bob: Person) -> None:
    assert bob.types("approve", "telco-3", "--yes").code == 0
    said = bob.types("reject", "telco-3", "--reason", "on second thoughts", "--yes")
    assert said.code == 1
    assert "second decided at" in said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["promote", "telco"], {"action": "Promote", "version": "v2", "reason": ""}, id="promote"),
        pytest.param(["abort", "telco"], {"action": "Abort", "version": "v2", "reason": ""}, id="abort, in a hurry"),
        pytest.param(
            ["abort", "telco", "--reason", "why"], {"action": "Abort", "version": "v2", "reason": "why"}, id="abort"
        ),
        pytest.param(
            ["rollback", "telco", "--to", "v1", "--reason", "why"],
            {"action": "Rollback", "version": "v1", "reason": "why"},
            id="roll back",
        ),
    ],
)
def test_an_order_is_kept_in_the_cluster_and_what_came_of_it_is_printed(
    telco: Played, bob: Person, words: list[str], expected: dict[str, str]
) -> None:
    def obey() -> None:
        deadline = time.monotonic() + DEADLINE
        while (command := telco.sees("ChurnModel", "telco")["status"].get("command")) is None:
            assert time.monotonic() < deadline
        handled = {"at": command["at"], "action": command["action"], "message": "It was done."}
        telco.says("ChurnModel", "telco", SERVING | {"handled": handled})

    thread = meanwhile(obey)
    said = bob.types(*words)
    thread.join()
    assert (said.code, said.out) == (0, "It was done.\n"), said.err
    command = telco.sees("ChurnModel", "telco")["status"]["command"]
    assert command == expected | {"by": "second", "at": command["at"]}


@pytest.mark.usefixtures("telco")
def test_an_order_that_nobody_carries_out_stays_ordered(bob: Person) -> None:
    said = bob.types("promote", "telco", "--timeout", "1s")
    assert said.code == 1
    assert "was not carried out within 1s. It stays ordered" in said.err
    assert "Last order: Promote v2 by second" in bob.types("status", "telco").out


def test_two_orders_of_one_second_are_two(telco: Played, bob: Person) -> None:
    first, second = (bob.types("promote", "telco", "--no-wait", "-o", "json").json["command"] for _ in range(2))
    assert first["at"] < second["at"]
    assert telco.sees("ChurnModel", "telco")["status"]["command"] == second


def test_a_run_that_is_asked_for_gets_the_next_number(telco: Played, bob: Person) -> None:
    said = [bob.types("retrain", "telco", "--reason", "a new price", "-o", "json").json["run"] for _ in range(2)]
    assert said == ["telco-3", "telco-4"]
    assert telco.sees("TrainingRun", "telco-3")["spec"] == run_spec(requestedBy="second")


def test_a_number_that_somebody_took_meanwhile_is_passed_over(
    telco: Played, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    telco.makes("TrainingRun", "telco-3", run_spec())
    monkeypatch.setattr(orders, "next_number", lambda *_: 3)
    assert (
        bob.types("retrain", "telco", "--reason", "why").out == "TrainingRun telco-4 is created, requested by second.\n"
    )


@pytest.mark.usefixtures("telco")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["status", "gym"], "There is no ChurnModel gym in namespace {ns}: there is telco.", id="status"),
        pytest.param(["status", "gym", "--watch"], "There is no ChurnModel gym in", id="watch"),
        pytest.param(["check", "gym", "--wait"], "There is no ChurnModel gym in", id="check"),
        pytest.param(["approve", "telco-9"], "There is no TrainingRun telco-9 in namespace {ns}", id="approve"),
        pytest.param(["promote", "gym"], "There is no ChurnModel gym in", id="promote"),
        pytest.param(["retrain", "gym", "--reason", "x"], "There is no ChurnModel gym in", id="retrain"),
        pytest.param(["rollback", "telco", "--to", "v9", "--reason", "x"], "There is no version v9: ", id="version"),
        pytest.param(["check", "telco", "--timeout", "soon"], "'soon' is not a duration", id="duration"),
        pytest.param(["status", "telco", "--context", "prod"], "Expected object with name prod", id="context"),
        pytest.param(["retrain", "telco"], "Missing option '--reason'", id="no reason"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(bob: Person, words: list[str], expected: str) -> None:
    said = bob.types(*words)
    assert (said.code, said.out) == (2, "")
    assert expected.format(ns=bob.namespace) in " ".join(said.err.split())


def test_a_namespace_that_is_not_there_is_named(bob: Person) -> None:
    said = Person(bob.kubeconfig, "elsewhere").types("status", "telco")
    assert (said.code, said.err) == (2, "There is no namespace elsewhere.\n")


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["status", "telco"], id="status"),
        pytest.param(["approve", "telco-3", "--yes"], id="approve"),
        pytest.param(["promote", "telco"], id="promote"),
    ],
)
def test_who_may_not_is_told_what_they_may_not(nobody: Person, words: list[str]) -> None:
    said = nobody.types(*words)
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("The cluster does not let you: ")
    assert 'User "nobody" cannot get resource' in said.err


def test_who_is_not_known_is_told_so(control_plane: ControlPlane, namespace: str) -> None:
    said = Person(control_plane.kubeconfig("stranger"), namespace).types("status", "telco")
    assert (said.code, said.err) == (
        3,
        "The API server does not know you (401): log in again, or choose another --context.\n",
    )


def test_an_api_server_that_is_away_is_named(bob: Person, tmp_path: Path) -> None:
    config = json.loads(bob.kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    away = tmp_path / "kubeconfig"
    away.write_text(json.dumps(config))
    said = Person(away, "team").types("status", "telco")
    assert (said.code, said.err) == (4, f"The API server at {server} does not answer: Connection refused.\n")


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = Person(tmp_path / "none", "team").types("status", "telco")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("There is no kubeconfig at ")


def test_a_cluster_without_the_operator_is_told_apart(bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("churn_operator.cli.cluster.API_VERSION", "churnops.dev/v0")
    said = bob.types("status", "telco")
    assert said.code == 1
    assert said.err == "This cluster does not serve ChurnModel (churnops.dev/v0): install churn-operator.\n"


def test_kubectl_finds_it_as_a_plugin_with_the_namespace_of_the_context(
    telco: Played, bob: Person, tmp_path: Path
) -> None:
    """The executable is what an installer makes of [project.scripts]."""
    module, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"][
        "kubectl-churn"
    ].split(":")
    script = tmp_path / "kubectl-churn"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    script.chmod(0o755)
    config = json.loads(bob.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = bob.namespace
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "operator"),
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
    }
    command = [telco.plane.programs["KUBECTL"], "churn", "check", "telco"]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "v2 is rolling out: Step 1 of 2.\n", "")
