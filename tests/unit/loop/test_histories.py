"""What holds over every history: whatever happens, in whatever order, and wherever the operator is killed."""

import asyncio
import os
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.kinds import NOW, SETTINGS, make_drift_result, make_object, make_predictions, make_result, make_spec
from support.memory import Killed, MemoryCluster
from support.shadow import make_shadow_result

from churn_operator.api.churnmodel import RegistrySpec
from churn_operator.api.results import encode_result
from churn_operator.api.tasks import DriftResult, ShadowResult
from churn_operator.churnmodel import ChurnModelKind
from churn_operator.core.clock import stamp
from churn_operator.core.errors import Unavailable
from churn_operator.core.objects import Key
from churn_operator.core.reconcile import reconcile
from churn_operator.driftmonitor import DriftMonitorKind
from churn_operator.trainingrun import TrainingRunKind

BOUND = 0.8
SPEC = make_spec(
    retraining={"triggers": ["Drift", "NewData", "SpecChanged"], "cooldown": "1m", "probeInterval": "1m"},
    monitoring={"schedule": "@every 1m"},
    gates=[{"name": "quality", "metric": "roc_auc", "min": BOUND}],
    rollout={"guard": "2m", "progressDeadline": "3m"},
)
LOGGING = SETTINGS.model_copy(update={"collector_url": "http://collector"})
KINDS: dict[str, Any] = {
    "ChurnModel": ChurnModelKind(LOGGING),
    "TrainingRun": TrainingRunKind(LOGGING),
    "DriftMonitor": DriftMonitorKind(LOGGING),
}
FINAL = {"Accepted", "Rejected", "Failed", "Expired", "Superseded"}
MEASURED = FINAL | {"AwaitingApproval"}


class Histories(RuleBasedStateMachine):
    """A model called telco, the world around it, and an operator that may be killed before any write."""

    spec = SPEC

    @initialize()
    def begin(self) -> None:
        self.now = NOW
        self.revision = 1
        self.quality: dict[str, float] = {}
        self.cluster = MemoryCluster()
        self.cluster.objects["ChurnModel", "telco"] = make_object("ChurnModel", "telco", self.spec.to_dict())

    @rule(seconds=st.sampled_from([1, 10, 60, 300]), writes=st.none() | st.integers(0, 3), backwards=st.booleans())
    def look(self, seconds: int, writes: int | None, *, backwards: bool = False) -> None:
        self.now += timedelta(seconds=seconds)
        self.cluster.writes_left = writes
        self._pass(backwards=backwards)
        self.cluster.writes_left = None
        self._pass(backwards=not backwards)
        self._pass(backwards=backwards)

    @rule(share=st.sampled_from([0.0, 0.5]), window=st.integers(1, 5), answers=st.booleans())
    def the_usual_course(self, share: float, window: int, *, answers: bool) -> None:
        """A minute in which every Job ends well: without it, few histories get as far as a second champion."""
        self.look(60, None)
        self.a_probe_ends()
        self.a_check_ends(window, share)
        self.look(1, None)
        self.a_training_job_ends(0.9)
        self.look(1, None)
        self.a_server_starts(answers=answers)
        self.look(1, None)

    @rule()
    def the_source_changes(self) -> None:
        self.revision += 1

    @rule(quality=st.sampled_from([0.5, 0.9]))
    def a_training_job_ends(self, quality: float) -> None:
        for job in self._open_jobs("train"):
            run = self.cluster.objects["TrainingRun", job["metadata"]["name"].removesuffix("-train")]
            read = run["status"]["resolved"]["task"].get("revision", f"version:{self.revision}")
            self.quality[run["metadata"]["name"]] = quality
            number = int(run["metadata"]["name"].rpartition("-")[2])
            data = make_result(1).data.model_copy(update={"revision": read})
            judged = run["spec"].get("candidate", {}).get("registryVersion", str(number))
            result = make_result(
                number, metrics={"roc_auc": quality, "parity": 0.0}, data=data, registry_version=judged
            )
            self._finish(job, "Complete", encode_result(result))

    @rule(
        role=st.sampled_from(["train", "probe", "drift"]), reason=st.sampled_from(["OneClass", "TrackingUnavailable"])
    )
    def a_job_fails(self, role: str, reason: str) -> None:
        for job in self._open_jobs(role):
            failure = (
                f'{{"outcome": "Failed", "reason": "{reason}", "message": "…", "revision": "version:{self.revision}"}}'
            )
            self._finish(job, "Failed", failure)

    @rule()
    def a_probe_ends(self) -> None:
        for job in self._open_jobs("probe"):
            self._finish(job, "Complete", f'{{"outcome": "Probed", "revision": "version:{self.revision}"}}')

    @rule(window=st.integers(1, 5), share=st.sampled_from([0.0, 0.5]))
    def a_check_ends(self, window: int, share: float) -> None:
        for job in self._open_jobs("drift"):
            self._finish(job, "Complete", encode_result(make_drift_result(window, share)))

    @rule(rows=st.integers(0, 499))
    def a_check_finds_too_few_predictions(self, rows: int) -> None:
        for job in self._open_jobs("drift"):
            window = make_predictions(1, stamp(self.now - timedelta(days=7)), stamp(self.now), rows)
            self._finish(job, "Complete", encode_result(DriftResult(outcome="TooFew", window=window)))

    @invariant()
    def silence_is_never_taken_for_a_verdict(self) -> None:
        for monitor in self.cluster.of("DriftMonitor"):
            status = monitor.get("status", {})
            said = {condition["type"]: condition for condition in status.get("conditions", ())}
            if status.get("unjudged"):
                assert said["WithinDriftLimits"]["status"] == "Unknown"
                assert said["WithinDriftLimits"]["reason"] == "TooFewPredictions"

    @rule(answers=st.booleans())
    def a_server_starts(self, *, answers: bool) -> None:
        for server in self.cluster.of("InferenceService"):
            server["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
            if answers:
                self.cluster.answering.add(server["metadata"]["name"].removeprefix("telco-"))

    @rule()
    def somebody_deletes_a_server(self) -> None:
        for server in self.cluster.of("InferenceService")[:1]:
            del self.cluster.objects["InferenceService", server["metadata"]["name"]]

    @rule(hours=st.sampled_from([-1, 24]), returns=st.booleans())
    def the_clock_jumps(self, hours: int, *, returns: bool) -> None:
        self.look(1, None)
        self.now += timedelta(hours=hours)
        self.look(1, None)
        if returns:
            self.now -= timedelta(hours=hours)
            self.look(1, None)

    @rule(up=st.booleans())
    def mlflow_comes_and_goes(self, *, up: bool) -> None:
        self.cluster.tracking = up

    @invariant()
    def one_run_at_a_time(self) -> None:
        open_runs = [run for run in self._runs() if run.get("status", {}).get("phase") not in MEASURED]
        assert len(open_runs) <= 1

    @invariant()
    def what_failed_a_gate_is_neither_accepted_nor_put_up_for_approval(self) -> None:
        passed = {
            run["metadata"]["name"]
            for run in self._runs()
            if run.get("status", {}).get("phase") in {"Accepted", "AwaitingApproval"}
        }
        assert all(self.quality[name] >= BOUND for name in passed)

    @invariant()
    def no_number_is_used_twice_and_none_is_left_out(self) -> None:
        numbers = sorted(int(run["metadata"]["name"].rpartition("-")[2]) for run in self._runs())
        assert numbers == list(range(1, len(numbers) + 1))

    @invariant()
    def nothing_is_settled_twice_on_the_same_data(self) -> None:
        settled = [
            run["status"]["revision"]
            for run in self._runs()
            if run.get("status", {}).get("phase") in MEASURED and run["status"].get("reason") != "TrackingUnavailable"
            if "candidate" not in run["spec"]
        ]
        assert len(settled) == len(set(settled))

    @invariant()
    def only_an_accepted_version_that_answered_has_the_traffic(self) -> None:
        for service in self.cluster.of("Service"):
            target = service["spec"]["selector"]["serving.kserve.io/inferenceservice"].removeprefix("telco-")
            run = self.cluster.objects["TrainingRun", f"telco-{target.removeprefix('v')}"]
            assert run["status"]["phase"] == "Accepted"
            assert target in self.cluster.answering

    @invariant()
    def traffic_never_moves_back(self) -> None:
        for service in self.cluster.of("Service"):
            target = int(service["spec"]["selector"]["serving.kserve.io/inferenceservice"].removeprefix("telco-v"))
            assert target >= getattr(self, "highest", 0)
            self.highest = target

    @invariant()
    def a_server_that_was_retired_never_comes_back(self) -> None:
        states = {v["version"]: v["state"] for v in self._model().get("status", {}).get("versions", ())}
        live = {server["metadata"]["name"].removeprefix("telco-") for server in self.cluster.of("InferenceService")}
        self.gone = getattr(self, "gone", set[str]())
        assert not self.gone & live
        self.gone |= {version for version, state in states.items() if state == "Retired"} - live

    @invariant()
    def at_most_one_champion_and_one_on_its_way(self) -> None:
        states = [v["state"] for v in self._model().get("status", {}).get("versions", ())]
        assert states.count("Champion") <= 1
        assert states.count("RollingOut") <= 1

    def _pass(self, *, backwards: bool) -> None:
        asyncio.run(self._reconcile_all(backwards=backwards))

    async def _reconcile_all(self, *, backwards: bool) -> None:
        for kind, name in sorted(self.cluster.objects, reverse=backwards):
            if kind in KINDS:
                try:
                    key = Key(kind, "team", name)
                    wake = await reconcile(KINDS[kind], key, self.cluster, self.cluster, self.now)
                    assert wake is None or wake >= timedelta(0)
                except (Killed, Unavailable):
                    continue

    def _model(self) -> dict[str, Any]:
        return self.cluster.objects["ChurnModel", "telco"]

    def _runs(self) -> list[dict[str, Any]]:
        return self.cluster.of("TrainingRun")

    def _open_jobs(self, role: str) -> list[dict[str, Any]]:
        jobs = self.cluster.of("Job")
        return [job for job in jobs if "status" not in job and job["metadata"]["labels"]["churnops.dev/role"] == role]

    def _finish(self, job: dict[str, Any], condition: str, text: str) -> None:
        job["status"] = {"conditions": [{"type": condition, "status": "True"}]}
        name = job["metadata"]["name"]
        self.cluster.objects["Pod", name] = {
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": job["metadata"]["labels"] | {"batch.kubernetes.io/job-name": name},
                "ownerReferences": [{"uid": job["metadata"]["uid"]}],
            },
            "spec": {"containers": [{"name": "job"}]},
            "status": {"containerStatuses": [{"name": "job", "state": {"terminated": {"message": text}}}]},
        }


class Shadows(Histories):
    """The same, where a challenger is first asked what clients asked the champion."""

    spec = SPEC.model_copy(update={"rollout": SPEC.rollout.model_copy(update={"strategy": "Shadow"})})

    @rule(came=st.sampled_from(["well", "badly", "to little", "to nothing", ""]), writes=st.none() | st.integers(0, 3))
    def a_challenger_comes(self, came: str, writes: int | None) -> None:
        """New data, and all that follows: without it, few histories get as far as a replay."""
        self.the_source_changes()
        for _ in range(2):
            self.the_usual_course(0.0, 1, answers=True)
        self.look(1, writes)
        match came:
            case "well" | "badly":
                self.a_replay_ends(0 if came == "well" else 500)
            case "to little":
                self.a_replay_finds_too_little(7)
            case "to nothing":
                self.a_replay_breaks_off()
            case _:
                pass  # it is still under way
        self.look(1, writes)

    @rule(errors=st.sampled_from([0, 500]))
    def a_replay_ends(self, errors: int) -> None:
        for job in self._open_jobs("shadow"):
            self._finish(job, "Complete", encode_result(make_shadow_result(errors=errors)))
            if not errors:
                self._passed().add(job["metadata"]["name"].split("-")[1])

    @rule(logged=st.integers(0, 99))
    def a_replay_finds_too_little(self, logged: int) -> None:
        for job in self._open_jobs("shadow"):
            self._finish(job, "Complete", encode_result(ShadowResult(outcome="TooFew", logged=logged)))

    @rule()
    def a_replay_breaks_off(self) -> None:
        for job in self._open_jobs("shadow"):
            self._finish(job, "Failed", '{"reason": "StorageUnavailable", "message": "the store is away"}')

    @rule()
    def somebody_deletes_a_replay(self) -> None:
        for job in self._open_jobs("shadow"):
            del self.cluster.objects["Job", job["metadata"]["name"]]

    @invariant()
    def nothing_takes_over_from_a_champion_without_a_replay_that_passed(self) -> None:
        served = {"Champion", "Retired", "Quarantined"}
        versions = self._model().get("status", {}).get("versions", ())
        self.first = getattr(self, "first", None) or next(
            (v["version"] for v in reversed(versions) if v["state"] in served), None
        )
        assert {v["version"] for v in versions if v["state"] in served} <= self._passed() | {self.first}

    @invariant()
    def only_what_is_on_its_way_is_replayed(self) -> None:
        """One Job at a time; one that is not wanted any more is gone at the latest when all has come to rest."""
        names = {job["metadata"]["name"].split("-")[1] for job in self._open_jobs("shadow")}
        assert len(names) <= 1

    def _passed(self) -> set[str]:
        self.passed = getattr(self, "passed", set[str]())
        return self.passed


class Follows(Histories):
    """The same, where people point the alias elsewhere, and that is followed."""

    spec = SPEC.model_copy(update={"registry": RegistrySpec(follow=True)})

    @rule(version=st.sampled_from(["901", "902"]), writes=st.none() | st.integers(0, 3), away=st.booleans())
    def somebody_points_the_alias(self, version: str, writes: int | None, *, away: bool) -> None:
        """At a version that no training made; MLflow may be gone a moment later."""
        self.mlflow_comes_and_goes(up=True)
        self.look(1, None)
        self.cluster.aliases["champion"] = version
        self.wished = {version} if self._model()["status"].get("alias") else set()
        self.look(1, writes)
        self.mlflow_comes_and_goes(up=not away)
        self.look(1, writes)

    @invariant()
    def a_wish_is_where_the_alias_is_or_in_a_run(self) -> None:
        judged = {run["spec"]["candidate"]["registryVersion"] for run in self._candidates()}
        assert getattr(self, "wished", set[str]()) <= judged | {self.cluster.aliases.get("champion")}

    @invariant()
    def no_version_is_judged_twice_beside_the_same_champion(self) -> None:
        asked = [
            (run["spec"]["candidate"]["registryVersion"], run["status"]["resolved"]["task"]["champion"]["version"])
            for run in self._candidates()
            if run.get("status", {}).get("resolved") and run["status"].get("reason") != "TrackingUnavailable"
        ]
        assert len(asked) == len(set(asked))

    @invariant()
    def what_people_did_not_ask_for_is_not_judged(self) -> None:
        """No write of the operator's own is taken for a wish, wherever it died."""
        assert {run["spec"]["candidate"]["registryVersion"] for run in self._candidates()} <= {"901", "902"}

    def _candidates(self) -> list[dict[str, Any]]:
        return [run for run in self._runs() if "candidate" in run["spec"]]


EXAMPLES = int(os.environ.get("HISTORIES", "15"))
"""The promise is about 10,000 of them: `hack/bench/run histories`."""
MANY = settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
TestHistories = Histories.TestCase
TestHistories.settings = MANY
TestShadows = Shadows.TestCase
TestShadows.settings = MANY
TestFollows = Follows.TestCase
TestFollows.settings = MANY
