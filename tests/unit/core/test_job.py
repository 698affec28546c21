"""What a Job came to, read from Kubernetes' own words."""

from typing import Any

import pytest
from support.kinds import make_object
from support.memory import MemoryCluster

from churn_operator.api.base import Resources
from churn_operator.api.data import DataSource
from churn_operator.api.tasks import EXIT_REFUSED, EXIT_UNAVAILABLE, ProbeResult, ProbeTask
from churn_operator.core.job import (
    Absent,
    Broken,
    Finished,
    JobOrder,
    JobState,
    Running,
    build_job,
    observe_job,
    parse_result,
    pods_of,
)
from churn_operator.core.objects import Violation

OWNER = make_object("TrainingRun", "telco-2", {})
CLAIM = DataSource.model_validate({"claim": {"name": "exports", "path": "telco.csv"}, "secretRef": {"name": "theirs"}})
S3 = DataSource(uri="s3://churn/telco.csv")
FAILURE = '{"outcome": "Failed", "reason": "OneClass", "message": "only No", "revision": "etag:1"}'


def job(*conditions: tuple[str, str]) -> dict[str, Any]:
    made = make_object("Job", "telco-2-train", {"activeDeadlineSeconds": 60}, "batch/v1")
    made["status"] = {"conditions": [{"type": t, "status": "True", "reason": r, "message": "…"} for t, r in conditions]}
    return made


def pod(
    *,
    terminated: Any = None,
    waiting: Any = None,
    running: Any = None,
    scheduled: Any = None,
    uid: str = "uid-telco-2-train",
    created: str = "2026-11-21T12:00:00Z",
    container: str = "job",
) -> dict[str, Any]:
    states = {"terminated": terminated, "waiting": waiting, "running": running}
    return {
        "metadata": {"name": "p", "ownerReferences": [{"uid": uid}], "creationTimestamp": created},
        "spec": {"containers": [{"name": "job", "resources": {"limits": {"memory": "2Gi"}}}]},
        "status": {
            "containerStatuses": [{"name": container, "state": {key: value for key, value in states.items() if value}}],
            "conditions": [{"type": "PodScheduled", "status": "False"} | scheduled] if scheduled else [],
        },
    }


def reason(state: JobState) -> str:
    match state:
        case Broken(violation):
            return f"Broken {violation.reason}"
        case Running(Violation() as violation):
            return f"Running {violation.reason}"
        case Finished(text):
            return f"Finished {text}"
        case Absent() | Running():
            return type(state).__name__


COMPLETE = job(("Complete", "CompletionsReached"))
FAILED = job(("Failed", "PodFailurePolicy"))
FULL = {"reason": "Unschedulable", "message": "0/1 nodes are available"}


@pytest.mark.parametrize(
    ("live", "pods", "recorded", "expected"),
    [
        pytest.param(None, [], None, "Absent", id="no Job"),
        pytest.param(job(), [], None, "Running", id="a Job without a pod"),
        pytest.param(job(), [pod()], None, "Running", id="a pod that starts"),
        pytest.param(
            job(), [pod(waiting={"reason": "ContainerCreating"})], None, "Running", id="a container that is created"
        ),
        pytest.param(
            job(), [pod(waiting={"reason": "ErrImageNeverPull"})], None, "Running ImagePullFailed", id="no such image"
        ),
        pytest.param(
            job(), [pod(waiting={"reason": "CreateContainerConfigError", "message": 'secret "x" not found'})], None,
            "Running ContainerCannotStart", id="no such Secret",
        ),
        pytest.param(job(), [pod(scheduled=FULL)], None, "Running Unschedulable", id="no node"),
        pytest.param(job(), [pod(scheduled={"reason": "Other"})], None, "Running", id="not scheduled for now"),
        pytest.param(COMPLETE, [pod(terminated={"message": "{}"})], None, "Finished {}", id="a result"),
        pytest.param(
            job(("SuccessCriteriaMet", "")), [pod(terminated={"message": "{}"})], None, "Finished {}", id="early"
        ),
        pytest.param(COMPLETE, [], "{1}", "Finished {1}", id="a result that MLflow kept for a pod that is gone"),
        pytest.param(COMPLETE, [], None, "Broken ResultUnreadable", id="no result at all"),
        pytest.param(
            COMPLETE, [pod(terminated={"message": "{}"}, uid="another")], None,
            "Broken ResultUnreadable", id="another Job's result",
        ),
        pytest.param(
            COMPLETE, [pod(terminated={"message": "{}"}, container="sidecar")], None,
            "Broken ResultUnreadable", id="the result of a container of somebody else's",
        ),
        pytest.param(
            COMPLETE,
            [pod(terminated={"message": "new"}, created="2026-11-21T12:05:00Z"), pod(terminated={"message": "old"})],
            None, "Finished new", id="the newest of two results",
        ),
        pytest.param(FAILED, [pod(terminated={"message": FAILURE})], None, "Broken OneClass", id="a failure in words"),
        pytest.param(
            job(("FailureTarget", "")), [pod(terminated={"message": FAILURE})], None, "Broken OneClass", id="early"
        ),
        pytest.param(
            FAILED, [pod(terminated={"reason": "OOMKilled"})], None, "Broken OutOfMemory", id="killed"
        ),
        pytest.param(FAILED, [pod(terminated={"message": "no JSON"})], None, "Broken JobFailed", id="words of no use"),
        pytest.param(FAILED, [], None, "Broken JobFailed", id="no words"),
        pytest.param(
            job(("Failed", "DeadlineExceeded")), [pod(scheduled=FULL)], None, "Broken DeadlineExceeded", id="late"
        ),
    ],
)  # fmt: skip
def test_a_job_is_judged_by_its_own_pods(live: Any, pods: Any, recorded: str | None, expected: str) -> None:
    assert reason(observe_job(live, pods, recorded)) == expected


@pytest.mark.parametrize(
    ("pods", "began"),
    [
        pytest.param([], False, id="not without a pod"),
        pytest.param([pod()], False, id="nor while it is created"),
        pytest.param([pod(running={"startedAt": "2026-11-21T12:00:00Z"})], True, id="as soon as a container runs"),
        pytest.param([pod(terminated={"exitCode": 1}), pod()], True, id="nor is it forgotten when it is tried again"),
        pytest.param([pod(running={"startedAt": "2026-11-21T12:00:00Z"}, uid="another")], False, id="for its own pod"),
    ],
)
def test_a_job_has_begun(pods: Any, *, began: bool) -> None:
    assert observe_job(job(), pods) == Running(began=began)


AWAY = '{"outcome": "Failed", "reason": "StorageUnavailable", "message": "s3://churn: no answer"}'

NO_MLFLOW = AWAY.replace("StorageUnavailable", "TrackingUnavailable")


def ended(at: str, code: int = 11, message: str = AWAY) -> dict[str, Any]:
    return pod(terminated={"exitCode": code, "message": message, "finishedAt": f"2026-11-21T{at}Z"}, created=at)


def disrupted(ended_pod: dict[str, Any]) -> dict[str, Any]:
    conditions = [{"type": "DisruptionTarget", "status": "True"}]
    return ended_pod | {"status": ended_pod["status"] | {"conditions": conditions}}


def retried(limit: int = 6) -> dict[str, Any]:
    made = job()
    made["spec"]["backoffLimit"] = limit
    return made


LATE, USED_UP = job(("Failed", "DeadlineExceeded")), job(("Failed", "BackoffLimitExceeded"))
TRAINS = pod(running={"startedAt": "2026-11-21T12:00:20Z"}, created="2026-11-21T12:00:20Z")
UNPLACED = pod(scheduled=FULL, created="2026-11-21T12:00:20Z")
CRASHED, KILLED = ended("12:00:20", 139, ""), ended("12:00:20", 143, "")
MISSED = ended("12:00:00")


@pytest.mark.parametrize(
    ("live", "pods", "expected"),
    [
        pytest.param(FAILED, [MISSED, CRASHED], "JobFailed", id="a crash is no neighbour's absence"),
        pytest.param(FAILED, [CRASHED, ended("12:00:40", 1, FAILURE)], "OneClass", id="the last one speaks"),
        pytest.param(LATE, [MISSED, KILLED], "DeadlineExceeded", id="one that trained until it was too late"),
        pytest.param(LATE, [MISSED, TRAINS], "DeadlineExceeded", id="or still does, as it is asked to end"),
        pytest.param(LATE, [MISSED], "StorageUnavailable", id="late in the pause after it"),
        pytest.param(LATE, [MISSED, UNPLACED], "StorageUnavailable", id="or before the next one ran"),
        pytest.param(USED_UP, [MISSED, KILLED], "StorageUnavailable", id="any of those that used the attempts up"),
    ],
)
def test_an_end_is_told_by_the_attempt_that_it_came_of(live: Any, pods: Any, expected: str) -> None:
    assert reason(observe_job(live, pods)) == f"Broken {expected}"


SINCE = "Since 2026-11-21T12:00:00Z: s3://churn: no answer. Attempt"


@pytest.mark.parametrize(
    ("live", "pods", "says"),
    [
        pytest.param(retried(), [ended("12:00:00")], f"{SINCE} 1 of 7", id="the first attempt"),
        pytest.param(retried(), [ended("12:00:30"), ended("12:00:00")], f"{SINCE} 2 of 7", id="since the first of two"),
        pytest.param(
            retried(), [ended("12:00:00"), disrupted(ended("12:00:20", 143, "")), ended("12:00:30")], f"{SINCE} 2 of 7",
            id="without one that was evicted",
        ),
        pytest.param(
            retried(), [ended("12:00:00"), ended("12:00:20", 143, ""), ended("12:00:30")], f"{SINCE} 3 of 7",
            id="with one that was asked to end",
        ),
        pytest.param(
            retried(), [ended("11:00:00", message=NO_MLFLOW), ended("12:00:00"), ended("12:00:30")], f"{SINCE} 3 of 7",
            id="not since somebody else was away",
        ),
        pytest.param(
            retried(),
            [ended("11:00:00"), ended("11:30:00", message=NO_MLFLOW), ended("12:00:00")],
            f"{SINCE} 3 of 7",
            id="nor since it was away before that",
        ),
        pytest.param(retried(), [ended("12:00:00"), pod(running={"startedAt": "…"})], None, id="not in the next"),
        pytest.param(retried(0), [ended("12:00:00")], None, id="nor where there is none"),
        pytest.param(
            retried(1), [ended("11:00:00", 143, ""), ended("12:00:00")], None, id="nor where each was used up"
        ),
        pytest.param(retried(), [disrupted(ended("12:00:00"))], None, id="nor of one that was evicted as it missed it"),
        pytest.param(retried(), [ended("12:00:00", 1)], None, id="nor of a crash"),
        pytest.param(retried(), [ended("12:00:00", 11, "no JSON")], None, id="nor in words of no use"),
    ],
)  # fmt: skip
def test_between_two_attempts_a_job_says_who_is_away_and_since_when(live: Any, pods: Any, says: str | None) -> None:
    state = observe_job(live, pods)
    assert isinstance(state, Running)
    if says is None:
        assert state.problem is None
    else:
        assert state.problem is not None
        assert state.problem.reason == "StorageUnavailable"
        assert state.problem.message.startswith(says)


class Behind(MemoryCluster):
    """A cluster whose watch of pods is behind: it showed `seen`, and there is one that ended."""

    seen: tuple[Any, ...] = ()
    asked: int = 0

    async def list(self, *_: Any, **__: Any) -> tuple[Any, ...]:
        return self.seen

    async def list_fresh(self, *_: Any, **__: Any) -> tuple[Any, ...]:
        self.asked += 1
        return (pod(terminated={"message": "{}"}),)


FAILED_BEFORE = {"status": COMPLETE["status"] | {"succeeded": 1, "failed": 1}}


@pytest.mark.parametrize(
    ("live", "seen", "asked"),
    [
        pytest.param(job(), (), 0, id="a Job that runs is not final"),
        pytest.param(COMPLETE, (), 1, id="an ended Job without a pod"),
        pytest.param(COMPLETE, (pod(running={"startedAt": ""}),), 1, id="or with one that seems to run"),
        pytest.param(COMPLETE, (pod(terminated={"message": "{}"}, uid="another"),), 1, id="or with another's"),
        pytest.param(COMPLETE, (pod(terminated={"message": "{}"}),), 0, id="but not with its last words"),
        pytest.param(COMPLETE | FAILED_BEFORE, (pod(terminated={"exitCode": 1}),), 1, id="all of its pods' words"),
    ],
)
async def test_an_ended_job_is_never_judged_by_a_watch_that_is_behind(live: Any, seen: Any, asked: int) -> None:
    cluster = Behind()
    cluster.seen = seen
    pods = await pods_of(cluster, live)
    assert cluster.asked == asked
    assert isinstance(observe_job(live, pods), Running if live == job() else Finished)


async def test_no_job_has_no_pods() -> None:
    assert await pods_of(Behind(), None) == ()


def test_a_failure_keeps_the_state_of_the_data() -> None:
    state = observe_job(FAILED, [pod(terminated={"message": FAILURE})])
    assert isinstance(state, Broken)
    assert (state.violation.message, state.revision) == ("only No", "etag:1")


def test_a_deadline_tells_what_the_pod_waited_for() -> None:
    state = observe_job(job(("Failed", "DeadlineExceeded")), [pod(scheduled=FULL)])
    assert isinstance(state, Broken)
    assert state.violation.message == (
        "Job telco-2-train took longer than activeDeadlineSeconds (60) and was ended. "
        "Last seen: 0/1 nodes are available"
    )


def test_a_kill_tells_the_limit() -> None:
    state = observe_job(FAILED, [pod(terminated={"reason": "OOMKilled"})])
    assert isinstance(state, Broken)
    assert "killed when it reached 2Gi: raise resources.limits.memory" in state.violation.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("not JSON", "Invalid JSON", id="no JSON"),
        pytest.param("{}", "revision: Field required", id="a field missing"),
        pytest.param("zlib:AAAA", "not a zlib stream", id="a packed result that is none"),
    ],
)
def test_a_result_that_cannot_be_read_says_why(text: str, message: str) -> None:
    result = parse_result(text, ProbeResult)
    assert isinstance(result, Violation)
    assert message in result.message


def order(source: DataSource) -> JobOrder:
    return JobOrder(
        role="probe",
        name="telco-probe-1",
        task=ProbeTask(source=source),
        image="jobs:1",
        pull_policy="IfNotPresent",
        resources=Resources(),
        deadline_seconds=60,
        retries=0,
        secret="storage",
        source=source,
    )


def test_a_claim_is_mounted_read_only_and_the_sources_secret_has_a_prefix_of_its_own() -> None:
    pod_spec = build_job(OWNER, order(CLAIM))["spec"]["template"]["spec"]
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "exports", "readOnly": True}}
    assert claim in pod_spec["volumes"]
    assert {"name": "data", "mountPath": "/data", "readOnly": True} in pod_spec["containers"][0]["volumeMounts"]
    assert pod_spec["containers"][0]["envFrom"] == [
        {"secretRef": {"name": "storage"}},
        {"prefix": "SOURCE_", "secretRef": {"name": "theirs"}},
    ]


def test_a_job_runs_under_restricted_pod_security() -> None:
    pod_spec = build_job(OWNER, order(S3))["spec"]["template"]["spec"]
    container = pod_spec["containers"][0]
    assert pod_spec["securityContext"]["runAsNonRoot"] is True
    assert pod_spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def rule(exit_code: int) -> str:
    """What the Job's policy says of a container that ended with this code."""
    rules = build_job(OWNER, order(S3))["spec"]["podFailurePolicy"]["rules"]
    (on_exit,) = [rule for rule in rules if "onExitCodes" in rule]
    assert on_exit["onExitCodes"]["operator"] == "NotIn"
    assert on_exit["onExitCodes"]["values"] == sorted(on_exit["onExitCodes"]["values"]), "else it is refused"
    return "Count" if exit_code in on_exit["onExitCodes"]["values"] else str(on_exit["action"])


@pytest.mark.parametrize(
    ("exit_code", "action"),
    [
        pytest.param(EXIT_UNAVAILABLE, "Count", id="a neighbour that is away gets another attempt"),
        pytest.param(128, "Count", id="and a container that could not be started"),
        pytest.param(143, "Count", id="and a pod that was asked to end"),
        pytest.param(255, "Count", id="and one whose node went down"),
        pytest.param(EXIT_REFUSED, "FailJob", id="bad input gets none"),
        pytest.param(1, "FailJob", id="nor what nobody foresaw"),
        pytest.param(137, "FailJob", id="nor what needs more memory"),
        pytest.param(139, "FailJob", id="nor a crash"),
    ],
)
def test_only_what_waiting_can_help_is_tried_again(exit_code: int, action: str) -> None:
    assert rule(exit_code) == action
