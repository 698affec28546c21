"""Whatever happens, in whatever order: without a person's yes to the very evidence, nothing is served."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from unit.loop.test_histories import MANY, SPEC, Histories

from churn_operator.api.approval import ApprovalSpec
from churn_operator.core.clock import stamp

OTHER = "sha256:" + "0" * 64


class Approvals(Histories):
    """The same world, in which a model asks for approval, and people answer rightly, wrongly or not at all."""

    spec = SPEC.model_copy(update={"approval": ApprovalSpec(required=True, timeout="10m")})

    @initialize()
    def nobody_agreed_yet(self) -> None:
        self.agreed: set[str] = set()

    @rule(decision=st.sampled_from(["Approved", "Rejected"]), rightly=st.booleans())
    def a_person_decides(self, decision: str, *, rightly: bool) -> None:
        for run in self._waiting():
            digest = run["status"]["evidenceDigest"] if rightly else OTHER
            written = {"decision": decision, "by": "bob", "at": stamp(self.now), "evidenceDigest": digest}
            run["status"].setdefault("approval", written)
            if run["status"]["approval"] == written and rightly and decision == "Approved":
                self.agreed.add(run["metadata"]["name"])

    @rule(rightly=st.booleans())
    def the_file_approves(self, *, rightly: bool) -> None:
        for run in self._waiting():
            version = run["metadata"]["name"].replace("telco-", "v")
            entry = {"version": version, "evidenceDigest": run["status"]["evidenceDigest"] if rightly else OTHER}
            self._model()["spec"]["approval"]["approved"] = [entry]
            if rightly:
                self.agreed.add(run["metadata"]["name"])

    @rule(answer=st.sampled_from(["yes", "no", "another yes", "file", "another file", "meddled", "none"]))
    def a_course(self, answer: str) -> None:
        """There is new data, a run on it that passes its gates, an answer of people, and time for a server."""
        self.the_source_changes()
        self.look(60, None)
        self.a_probe_ends()
        self.look(1, None)
        self.a_training_job_ends(0.9)
        self.look(1, None)
        match answer:
            case "yes" | "another yes":
                self.a_person_decides("Approved", rightly=answer == "yes")
            case "no":
                self.a_person_decides("Rejected", rightly=True)
            case "file" | "another file":
                self.the_file_approves(rightly=answer == "file")
            case "meddled":
                self.a_person_decides("Approved", rightly=True)
                self.somebody_meddles_with_what_was_measured()
            case _:
                pass
        self.look(1, None)
        self.a_server_starts(answers=True)
        self.look(1, None)

    @rule()
    def somebody_meddles_with_what_was_measured(self) -> None:
        """As one could where the admission policy is not installed: the yes was to something else."""
        for run in self._waiting():
            run["status"]["result"]["metrics"]["roc_auc"] += (
                0.001  # another value each time: the same would be no change
            )
            self.agreed.discard(run["metadata"]["name"])

    @invariant()
    def nothing_gets_a_server_that_nobody_agreed_to(self) -> None:
        for version in self._model().get("status", {}).get("versions", ()):
            assert version["run"] in self.agreed

    @invariant()
    def an_accepted_run_was_agreed_to(self) -> None:
        accepted = {run["metadata"]["name"] for run in self._runs() if run.get("status", {}).get("phase") == "Accepted"}
        assert accepted <= self.agreed

    @invariant()
    def what_a_person_wrote_stays(self) -> None:
        self.written = getattr(self, "written", dict[str, Any]())
        for run in self._runs():
            approval, name = run.get("status", {}).get("approval"), run["metadata"]["name"]
            assert self.written.get(name, approval) == approval
            if approval is not None:
                self.written[name] = approval

    @invariant()
    def no_more_than_one_run_waits_for_people(self) -> None:
        assert len(self._waiting()) <= 1

    def _waiting(self) -> list[dict[str, Any]]:
        return [run for run in self._runs() if run.get("status", {}).get("phase") == "AwaitingApproval"]


def served(history: Approvals) -> list[str]:
    versions = history.cluster.objects["ChurnModel", "telco"].get("status", {}).get("versions", ())
    return [version["version"] for version in versions]


def phases(history: Approvals) -> list[str]:
    return [run["status"]["phase"] for run in history.cluster.of("TrainingRun")]


def begun() -> Approvals:
    history = Approvals()
    history.begin()
    history.nobody_agreed_yet()
    return history


def test_a_forgotten_approval_holds_up_no_retraining() -> None:
    history = begun()
    history.the_usual_course(0.0, 1, answers=True)
    assert phases(history) == ["AwaitingApproval"]
    history.a_course("yes")
    assert phases(history) == ["Superseded", "Accepted"]
    assert served(history) == ["v2"]


def test_a_run_that_nobody_answers_expires_and_nothing_is_served() -> None:
    history = begun()
    history.the_usual_course(0.0, 1, answers=True)
    for _ in range(3):
        history.look(300, None)
    assert phases(history)[0] == "Expired"
    assert served(history) == []


TestApprovals = Approvals.TestCase
TestApprovals.settings = MANY
