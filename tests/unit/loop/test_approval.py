"""Whatever happens, in whatever order: without a person's yes to the very evidence, nothing is served."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from support.kinds import make_object
from unit.loop.test_canary_histories import SPEC as CANARY
from unit.loop.test_canary_histories import CanaryHistories
from unit.loop.test_histories import MANY, MEASURED, SPEC, Histories

from churn_operator.api.approval import ApprovalSpec
from churn_operator.core.clock import stamp

OTHER = "sha256:" + "0" * 64


class Approvals(Histories):
    """The same world, in which a model asks for approval, and people answer rightly, wrongly or not at all."""

    spec = SPEC.model_copy(update={"approval": ApprovalSpec(required=True, timeout="10m")})

    @initialize()
    def nobody_agreed_yet(self) -> None:
        self.agreed: set[str] = set()
        self.begun: set[str] = set()

    @rule(required=st.booleans())
    def approval_is_switched(self, *, required: bool) -> None:
        """By somebody who may: what begins from now on is judged by it."""
        self._model()["spec"]["approval"]["required"] = required

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

    @rule(
        answer=st.sampled_from(["yes", "no", "another yes", "file", "another file", "meddled", "none"]),
        writes=st.none() | st.integers(0, 3),
    )
    def a_course(self, answer: str, writes: int | None = None) -> None:
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
        self.look(1, writes)
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
    def nothing_begins_that_nobody_agreed_to_where_that_is_asked_for(self) -> None:
        begun = {version["run"] for version in self._model().get("status", {}).get("versions", ())}
        if self._model()["spec"]["approval"]["required"]:
            assert begun <= self.agreed | self.begun
        self.begun |= begun

    def asked_for(self, number: int) -> str:
        """Its name: a run that alice made by hand, and nobody owns."""
        name = f"telco-{number}"
        spec = {"modelRef": {"name": "telco"}, "trigger": "Manual", "reason": "so", "requestedBy": "alice"}
        self.cluster.objects["TrainingRun", name] = make_object("TrainingRun", name, spec)
        return name

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


class PeopleAndCanaries(Approvals, CanaryHistories):
    """Canaries that need a yes, beside runs that people ask for, whoever says the yes."""

    spec = CANARY.model_copy(update={"approval": Approvals.spec.approval})

    @rule(number=st.integers(1, 3), yes=st.sampled_from(["alice", "bob"]), writes=st.none() | st.integers(0, 3))
    def a_person_asks_for_a_run(self, number: int, yes: str, writes: int | None) -> None:
        """And she, or another person, approves it."""
        last = max((int(run["metadata"]["name"].rpartition("-")[2]) for run in self._runs()), default=0)
        name = self.asked_for(last + number)
        self.look(1, writes)
        self.a_training_job_ends(0.9)
        self.look(1, None)
        for run in self._waiting():
            if run["metadata"]["name"] == name:
                self._says_yes(run, yes)
        self.look(1, writes)
        self.a_server_starts(answers=True)
        self.look(1, None)

    def _says_yes(self, run: dict[str, Any], who: str) -> None:
        digest = run["status"]["evidenceDigest"]
        written = {"decision": "Approved", "by": who, "at": stamp(self.now), "evidenceDigest": digest}
        run["status"].setdefault("approval", written)
        if run["status"]["approval"] == written and who != run["spec"]["requestedBy"]:
            self.agreed.add(run["metadata"]["name"])

    @invariant()
    def one_run_at_a_time(self) -> None:
        """But for those that people ask for."""
        open_runs = [run for run in self._runs() if run.get("status", {}).get("phase") not in MEASURED]
        assert len([run for run in open_runs if run["spec"]["trigger"] != "Manual"]) <= 1

    @invariant()
    def nothing_is_settled_twice_on_the_same_data(self) -> None:
        """But by people, who may ask for what they like."""

    @invariant()
    def no_number_is_used_twice_and_none_is_left_out(self) -> None:
        """But by people, who may leave some out."""

    @invariant()
    def no_more_than_one_run_waits_for_people(self) -> None:
        """But for a moment, while the older one is not told yet."""


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


def test_an_accepted_run_of_a_model_that_was_deleted_is_not_served_by_another_of_its_name() -> None:
    """Who may make and delete models, and may not approve, would else have its say on what serves."""
    history = begun()
    history.approval_is_switched(required=False)
    name = history.asked_for(1)
    history.look(1, None)
    history.a_training_job_ends(0.9)
    history.look(1, None)
    assert served(history) == ["v1"]
    run, model = history.cluster.objects["TrainingRun", name], make_object("ChurnModel", "telco", SPEC.to_dict())
    model["metadata"]["uid"] = "another"
    history.cluster.objects = {("TrainingRun", name): run, ("ChurnModel", "telco"): model}
    history.approval_is_switched(required=True)
    history.the_usual_course(0.0, 1, answers=True)
    assert served(history) == []
    assert phases(history) == ["Accepted", "AwaitingApproval"]


def test_a_run_ends_whose_model_was_deleted_and_made_anew() -> None:
    history = begun()
    name = history.asked_for(1)
    history.look(1, None)
    history.cluster.objects["ChurnModel", "telco"]["metadata"]["uid"] = "another"
    history.look(1, None)
    assert history.cluster.objects["TrainingRun", name]["status"]["reason"] == "Superseded"


TestApprovals = Approvals.TestCase
TestApprovals.settings = MANY
TestPeopleAndCanaries = PeopleAndCanaries.TestCase
TestPeopleAndCanaries.settings = MANY
