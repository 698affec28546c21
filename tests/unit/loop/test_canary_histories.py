"""What holds over every history of a canary, whatever clients, pods, gateways and people do."""

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from support.kinds import make_spec
from support.memory import counted_text
from unit.loop.test_histories import MANY, Histories

from churn_operator.api.analysis import LabelsSpec
from churn_operator.api.data import DataSource
from churn_operator.api.results import encode_result
from churn_operator.api.rollout import ABTestSpec
from churn_operator.api.tasks import Labelled, LabelsResult
from churn_operator.churnmodel.counts import Counts
from churn_operator.core.clock import stamp
from churn_operator.core.job import TASK_ANNOTATION

SPEC = make_spec(
    retraining={"triggers": ["NewData"], "cooldown": "1m", "probeInterval": "1m"},
    gates=[{"name": "quality", "metric": "roc_auc", "min": 0.8}],
    serving={"gateway": {"parentRefs": [{"name": "public"}]}},
    rollout={
        "strategy": "Canary",
        "steps": [{"weight": 10, "pause": "1m"}, {"weight": 50, "pause": "1m"}],
        "guard": "5m",
        "progressDeadline": "3m",
        "analysis": {"minRequests": 100},
    },
)
AB_TEST = {"strategy": "ABTest", "ab_test": ABTestSpec(sample=4000)}
WHY_CHAMPION = ("answered a prediction", "won the A/B test", "was promoted by", "took the traffic back")
ASKS = SPEC.rollout.analysis.model_copy(
    update={"labels": LabelsSpec(source=DataSource(uri="s3://crm/left.csv"), interval="1m", required=True)}
)
LABELS = st.tuples(*[st.sampled_from([0, 1, 7, 100, 400])] * 2)
"""How many of the champion's and of the challenger's decisions have one."""
LABELLED = SPEC.model_copy(update={"rollout": SPEC.rollout.model_copy(update={"analysis": ASKS})})


class CanaryHistories(Histories):
    """Clients ask at a gateway; each version is what it is drawn to be."""

    spec = SPEC

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.counts: dict[str, Counts] = {}
        self.bad: set[str] = set()
        self.fell_silent: set[str] = set()
        self.the_gateway_comes_and_goes(there=True)

    @rule(requests=st.sampled_from([10, 400, 3000]), readable=st.booleans(), writes=st.none() | st.integers(0, 3))
    def clients_ask(self, requests: int, *, readable: bool, writes: int | None = None) -> None:
        """Whoever has traffic answers; a challenger that is bad fails half of what it is asked."""
        for version in (v["version"] for v in self._versions()):
            asked = requests * self._weights().get(version, 0) // 100
            errors = round(asked * self._share_of_errors(version))
            self.counts[version] = self.counts.get(version, Counts()) + Counts(asked, errors)
            self.cluster.told[version] = counted_text(version, self.counts[version]) if readable else None
        self.look(10, writes)

    def _share_of_errors(self, version: str) -> float:
        return 0.5 if version in self.bad else 0.0

    @rule(there=st.booleans())
    def the_gateway_comes_and_goes(self, *, there: bool) -> None:
        self.cluster.accepting = there
        self.cluster.objects.pop(("Gateway", "public"), None)
        if there:
            self.cluster.objects["Gateway", "public"] = {"kind": "Gateway", "metadata": {"name": "public"}}

    @rule(answers=st.booleans())
    def a_server_starts(self, *, answers: bool) -> None:
        super().a_server_starts(answers=answers)
        for server in self.cluster.of("InferenceService"):
            version = server["metadata"]["name"].removeprefix("telco-")
            labels = server["metadata"]["labels"] | {"serving.kserve.io/inferenceservice": f"telco-{version}"}
            status = {"podIP": version, "conditions": [{"type": "Ready", "status": "True"}]}
            self.cluster.told.setdefault(version, counted_text(version, Counts()))
            self.cluster.objects["Pod", f"pod-{version}"] = {
                "kind": "Pod",
                "metadata": {"name": f"pod-{version}", "labels": labels},
                "status": status,
            }

    @rule(bad=st.booleans())
    def a_challenger_comes(self, *, bad: bool) -> None:
        """New data, a run that ends, a server that starts: few histories get so far by themselves."""
        self.the_source_changes()
        self.the_gateway_comes_and_goes(there=True)
        self.look(60, None)
        self.look(60, None)
        self.a_probe_ends()
        self.look(1, None)
        self.a_training_job_ends(0.9)
        self.look(1, None)
        if bad and self._champion():  # the first one has nobody to be compared with
            self.bad |= {v["version"] for v in self._versions() if v["state"] == "RollingOut"}
        self.a_server_starts(answers=True)
        self.look(1, None)

    @rule(looks=st.integers(1, 4))
    def clients_are_many(self, looks: int) -> None:
        for _ in range(looks):
            self.clients_ask(3000, readable=True)
            self.look(60, None)

    @rule(
        action=st.sampled_from(["Promote", "Abort", "Rollback"]),
        of=st.none() | st.integers(0, 3),
        writes=st.none() | st.integers(0, 3),
    )
    def a_person_orders(self, action: str, of: int | None, writes: int | None) -> None:
        """Of a version that is named, or of the one that is meant anyway."""
        named = dict(enumerate(v["version"] for v in self._versions())).get(-1 if of is None else of)
        order = {"action": action, "by": "alice", "at": stamp(self.now), "reason": "so"}
        order |= {} if named is None else {"version": named}
        self._model().setdefault("status", {})["command"] = order
        self.look(1, writes)

    @rule()
    def a_challenger_falls_silent(self) -> None:
        silent = {v["version"] for v in self._versions() if v["state"] == "RollingOut"}
        self.cluster.answering -= silent
        self.fell_silent |= silent

    @invariant()
    def traffic_never_moves_back(self) -> None:
        """But by a rollback, which quarantines what it moves from."""

    @invariant()
    def a_server_that_was_retired_never_comes_back(self) -> None:
        """But by a rollback."""

    @invariant()
    def only_an_accepted_version_that_answered_has_the_traffic(self) -> None:
        for version in self._weights():
            run = self.cluster.objects["TrainingRun", f"telco-{version.removeprefix('v')}"]
            assert run["status"]["phase"] == "Accepted"
            assert version in self.cluster.answering | self.fell_silent

    @invariant()
    def a_challenger_that_fails_half_of_its_requests_is_never_promoted(self) -> None:
        assert self._champion() not in self.bad

    @invariant()
    def a_challenger_that_fell_silent_is_never_promoted(self) -> None:
        assert self._champion() not in self.fell_silent - self.cluster.answering

    @invariant()
    def the_route_gives_all_of_the_traffic_away_once(self) -> None:
        weights = self._weights()
        assert not weights or sum(weights.values()) == 100
        assert len(weights) <= 2

    @invariant()
    def nothing_that_was_given_up_has_traffic(self) -> None:
        given_up = {v["version"] for v in self._versions() if v["state"] in {"RolledBack", "Quarantined"}}
        assert not given_up & {version for version, weight in self._weights().items() if weight}

    def _weights(self) -> dict[str, int]:
        route = self.cluster.objects.get(("HTTPRoute", "telco"))
        backends = route["spec"]["rules"][0]["backendRefs"] if route else []
        return {b["name"].removeprefix("telco-").removesuffix("-predictor"): b["weight"] for b in backends}

    def _champion(self) -> str | None:
        return next((v["version"] for v in self._versions() if v["state"] == "Champion"), None)

    def _versions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._model().get("status", {}).get("versions", [])
        return found


class ABTestHistories(CanaryHistories):
    """Versions share the traffic, of which some are better and some are worse than most."""

    spec = SPEC.model_copy(update={"rollout": SPEC.rollout.model_copy(update=AB_TEST)})

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.better: set[str] = set()

    @rule(writes=st.none() | st.integers(0, 3))
    def a_better_one_comes_and_clients_ask(self, writes: int | None) -> None:
        self.a_challenger_comes(bad=False)
        if self._champion():
            self.better |= {v["version"] for v in self._versions() if v["state"] == "RollingOut"}
        self.clients_ask(3000, readable=True, writes=writes)
        self.look(60, writes)

    @rule(metric=st.sampled_from(["ErrorRate", "Latency"]), sample=st.sampled_from([1000, 4000]))
    def another_test_is_declared(self, metric: str, sample: int) -> None:
        self._model()["spec"]["rollout"]["abTest"] |= {"metric": metric, "sample": sample}
        self.look(1, None)

    @invariant()
    def who_took_over_was_better_or_somebody_ordered_it(self) -> None:
        for version in self._versions():
            if "won the A/B test" in version["reason"]:
                assert version["version"] in self.better

    @invariant()
    def the_first_alone_takes_the_traffic_without_a_test(self) -> None:
        for version in self._versions():
            assert version["state"] != "Champion" or any(why in version["reason"] for why in WHY_CHAMPION)

    def _share_of_errors(self, version: str) -> float:
        return 0.5 if version in self.bad else 0.01 if version in self.better else 0.1


class LabelledHistories(CanaryHistories):
    """The same, where a step is only passed when labels say that the challenger decides as well."""

    spec = LABELLED

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.worse: set[str] = set()
        self.judged: set[str] = set()
        self.a_challenger_comes(bad=False)  # the first: it has nobody to be judged beside

    @rule(worse=st.booleans(), labels=LABELS)
    def a_challenger_decides(self, labels: tuple[int, int], *, worse: bool) -> None:
        """It fails no request, its probabilities are spread as ever, and labels come in each step."""
        self.a_challenger_comes(bad=False)
        if worse and self._champion():
            self.worse |= {v["version"] for v in self._versions() if v["state"] == "RollingOut"}
        for _ in range(3):
            self.labels_come(labels, None)

    @rule(labels=LABELS, writes=st.none() | st.integers(0, 3))
    def labels_come(self, labels: tuple[int, int], writes: int | None) -> None:
        self.clients_are_many(1)
        for job in self._open_jobs("labels"):
            champion, challenger = self._labelled(job, labels)
            result = LabelsResult(champion=champion, challenger=challenger, revision="version:1")
            self._finish(job, "Complete", encode_result(result))
            if min(labels) >= 100:
                self.judged.add(challenger.version)
        self.look(1, writes)
        self.clients_are_many(1)

    @rule()
    def labels_cannot_be_read(self) -> None:
        for job in self._open_jobs("labels"):
            self._finish(job, "Failed", '{"reason": "DataNotFound", "message": "there is no file"}')

    @rule()
    def somebody_deletes_a_look_for_labels(self) -> None:
        for job in self._open_jobs("labels"):
            del self.cluster.objects["Job", job["metadata"]["name"]]

    @invariant()
    def a_challenger_that_decides_worse_is_never_promoted(self) -> None:
        assert self._champion() not in self.worse

    @invariant()
    def nothing_takes_over_from_a_champion_without_labels(self) -> None:
        self.first = getattr(self, "first", None) or self._champion()
        assert self._champion() in self.judged | {self.first, None}

    @invariant()
    def one_look_for_labels_at_a_time(self) -> None:
        names = {job["metadata"]["name"].rpartition("-")[0] for job in self._open_jobs("labels")}
        assert len(names) <= 1

    def _labelled(self, job: Any, labels: tuple[int, int]) -> list[Labelled]:
        """Of the versions that the Job is asked about; a tenth of the decisions was wrong, or nine."""
        task = json.loads(job["spec"]["template"]["metadata"]["annotations"][TASK_ANNOTATION])
        return [
            Labelled(version=version, labelled=number, wrong=number * (9 if version in self.worse else 1) // 10)
            for version, number in zip(
                (task[one]["version"] for one in ("champion", "challenger")), labels, strict=True
            )
        ]


TestCanaryHistories = CanaryHistories.TestCase
TestCanaryHistories.settings = MANY
TestABTestHistories = ABTestHistories.TestCase
TestABTestHistories.settings = MANY
TestLabelledHistories = LabelledHistories.TestCase
TestLabelledHistories.settings = MANY
