"""The loop in memory: its order, and what each failure becomes."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.samples import Sample
from support.echo import echo
from support.keeper import API_VERSION, Keeper, job, service

from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import Golden
from churn_operator.core.conditions import Judgement
from churn_operator.core.errors import KindMissing, Outdated, TrackingUnavailable, Unavailable, WriteRefused
from churn_operator.core.kind import Answer, RunView
from churn_operator.core.objects import Alias, Desired, Key, Object
from churn_operator.core.reconcile import PROBLEM_WAKE, reconcile

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = Key("ChurnModel", "team", "telco")
OWNER: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": "ChurnModel",
    "metadata": {"name": "telco", "namespace": "team", "uid": "uid-1"},
}
ALIAS = Alias("http://mlflow", "team.telco", "champion", "2")
DESIRED, ONCE = Desired(service(OWNER)), Desired(job(OWNER), once=True)
HOUR = timedelta(hours=1)


class Memory:
    """A cluster of one namespace in a dict, that remembers what was done to it and fails when told to."""

    def __init__(self, *objects: Object, aliases: dict[str, str] | None = None) -> None:
        self.objects = {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}
        self.aliases = aliases or {}
        self.failures: dict[str, Exception] = {}
        self.done: list[str] = []

    async def get(self, _api_version: str, kind: str, _namespace: str, name: str) -> Object | None:
        self._fail(f"get {kind}")
        return self.objects.get((kind, name))

    fresh = get

    async def list(
        self, _api_version: str, kind: str, _namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[Object, ...]:
        assert not fields
        key, value = labels.split("=")
        found = (obj for (known, _), obj in self.objects.items() if known == kind)
        return tuple(obj for obj in found if obj["metadata"].get("labels", {}).get(key) == value)

    async def list_fresh(self, api_version: str, kind: str, namespace: str, *, labels: str) -> tuple[Object, ...]:
        raise NotImplementedError(api_version, kind, namespace, labels)

    async def find_run(self, tracking_uri: str, uid: str) -> RunView | None:
        raise NotImplementedError(tracking_uri, uid)

    async def predict(self, url: str, golden: Golden) -> Answer:
        raise NotImplementedError(url, golden)

    async def metrics(self, url: str) -> str:
        raise NotImplementedError(url)

    async def query(self, url: str, promql: str) -> tuple[Sample, ...]:
        raise NotImplementedError(url, promql)

    async def alias(self, _tracking_uri: str, _model: str, alias: str) -> str | None:
        self._fail("alias")
        return self.aliases.get(alias)

    async def create(self, obj: Object) -> None:
        if (obj["kind"], obj["metadata"]["name"]) in self.objects:
            raise Outdated("it is there")
        self._do("create", obj)
        self.objects[obj["kind"], obj["metadata"]["name"]] = obj

    async def apply(self, obj: Object, live: Object | None) -> None:
        self._do("apply", obj)
        uid = live["metadata"].get("uid", "uid-9") if live else "uid-9"
        applied = echo(obj)
        applied["metadata"]["uid"] = uid
        self.objects[obj["kind"], obj["metadata"]["name"]] = applied

    async def delete(self, live: Object) -> None:
        self._do("delete", live)
        del self.objects[live["kind"], live["metadata"]["name"]]

    async def apply_status(self, live: Object, status: dict[str, Any]) -> None:
        self._do("status", live)
        self.objects[live["kind"], live["metadata"]["name"]] = echo(dict(live, status=status), "status")

    async def set_alias(self, alias: Alias) -> None:
        self._fail("set alias")
        self.done.append(f"alias {alias.alias} {alias.version}")
        self.aliases[alias.alias] = alias.version

    async def event(self, about: Object, condition: Object, now: datetime) -> None:
        assert now == NOW
        self.done.append(f"event {about['metadata']['name']} {condition['reason']}")

    def _do(self, verb: str, obj: Object) -> None:
        self._fail(f"{verb} {obj['kind']}")
        self.done.append(f"{verb} {obj['kind']} {obj['metadata']['name']}")

    def _fail(self, call: str) -> None:
        if call in self.failures:
            raise self.failures[call]


def look(memory: Memory, keeper: Keeper) -> timedelta | None:
    return asyncio.run(reconcile(keeper, KEY, memory, memory, NOW))


def ready(memory: Memory) -> tuple[str, str]:
    (condition,) = memory.objects["ChurnModel", "telco"]["status"]["conditions"]
    return condition["reason"], condition["message"]


def test_children_come_first_then_aliases_then_deletions_then_the_status_then_events() -> None:
    old = echo(service(OWNER, "old"))
    memory = Memory(OWNER, old)
    look(memory, Keeper(lambda _: [DESIRED, ALIAS, ONCE]))
    assert memory.done == [
        "apply Service web",
        "alias champion 2",
        "event telco AliasMoved",
        "create Job work",
        "delete Service old",
        "status ChurnModel telco",
        "event telco RunAccepted",
    ]


@pytest.mark.parametrize(
    ("pointed", "seen", "moved"),
    [
        pytest.param("2", "2", [], id="where it is"),
        pytest.param("7", "7", ["alias champion 2", "event telco AliasMoved"], id="moved by somebody else"),
        pytest.param("7", "2", [], id="moved since it was looked at"),
        pytest.param("2", "7", [], id="back since"),
    ],
)
def test_an_alias_that_was_seen_elsewhere_is_put_back_and_told(pointed: str, seen: str, moved: list[str]) -> None:
    memory = Memory(OWNER, aliases={"champion": pointed})
    look(memory, Keeper(lambda _: [replace(ALIAS, seen=seen)]))
    assert [entry for entry in memory.done if "lias" in entry] == moved


def test_a_second_look_does_nothing_and_the_kind_says_when_to_look_again() -> None:
    memory = Memory(OWNER)
    keeper = Keeper(lambda _: [DESIRED, ALIAS, ONCE], wake=HOUR)
    look(memory, keeper)
    memory.done.clear()
    assert look(memory, keeper) == HOUR
    assert memory.done == []


def test_an_object_that_is_gone_is_forgotten() -> None:
    assert look(Memory(), Keeper(wake=HOUR)) is None


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(None, id="gone"),
        pytest.param({"uid": "uid-2"}, id="another of that name"),
        pytest.param({"deletionTimestamp": "2026-11-21T12:00:00Z"}, id="going"),
    ],
)
@pytest.mark.parametrize("desired", [DESIRED, ONCE], ids=["applied", "created"])
def test_an_owner_that_is_no_more_gets_no_children(desired: Desired, metadata: dict[str, str] | None) -> None:
    """What a watch showed may be late: the owner is asked for before a child is made."""
    memory = Late(OWNER)
    memory.now = None if metadata is None else {**OWNER, "metadata": OWNER["metadata"] | metadata}
    with pytest.raises(Outdated, match="ChurnModel telco is gone"):
        look(memory, Keeper(lambda _: [desired]))
    assert memory.done == []


class Late(Memory):
    """It reads what was, and asks for what is."""

    now: Object | None

    async def fresh(self, _api_version: str, kind: str, _namespace: str, name: str) -> Object | None:
        return self.now if (kind, name) == ("ChurnModel", "telco") else self.objects.get((kind, name))


def test_a_child_that_differs_is_applied() -> None:
    memory = Memory(OWNER, echo(service(OWNER, port=81)))
    look(memory, Keeper(lambda _: [DESIRED]))
    assert memory.done[0] == "apply Service web"
    assert memory.objects["Service", "web"]["spec"]["ports"][0]["port"] == 80


def test_the_kind_is_woken_for_a_problem_no_later_than_it_asked_for() -> None:
    memory = Memory(OWNER)
    memory.failures["apply Service"] = WriteRefused("no")
    assert look(memory, Keeper(lambda _: [DESIRED], wake=timedelta(seconds=1))) == timedelta(seconds=1)
    assert look(memory, Keeper(lambda _: [DESIRED])) == PROBLEM_WAKE


def unlabelled(obj: Object) -> Object:
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "labels"}}


@pytest.mark.parametrize(
    ("found", "desired", "done"),
    [
        pytest.param(unlabelled(echo(service(OWNER))), DESIRED, ["apply Service web"], id="is labelled again"),
        pytest.param(unlabelled(echo(job(OWNER))), ONCE, [], id="is left alone where it is made once"),
    ],
)
def test_a_child_that_no_selector_found_is_adopted(found: Object, desired: Desired, done: list[str]) -> None:
    memory = Memory(OWNER, found)
    look(memory, Keeper(lambda _: [desired]))
    assert memory.done[:-2] == done


def test_what_is_made_once_and_lost_our_label_is_told_until_it_is_deleted() -> None:
    """It must not be changed, and without the label it is not found: the run would wait for it for ever."""
    memory = Memory(OWNER, unlabelled(echo(job(OWNER))))
    keeper = Keeper(lambda _: [ONCE])
    assert look(memory, keeper) == PROBLEM_WAKE
    message = "Job work lost the label app.kubernetes.io/managed-by=churn-operator, by which it is found: delete it,"
    assert ready(memory) == (Reason.ChildConflict, f"{message} and it is made anew.")
    del memory.objects["Job", "work"]
    look(memory, keeper)
    assert "create Job work" in memory.done
    assert ready(memory)[0] == Reason.RunAccepted


class Unshown(Memory):
    """No watch has shown a child yet."""

    async def list(self, *_: Any, **__: Any) -> tuple[Object, ...]:
        return ()


def test_one_that_no_watch_has_shown_yet_is_no_problem() -> None:
    memory = Unshown(OWNER, echo(job(OWNER)))
    look(memory, Keeper(lambda _: [ONCE]))
    assert ready(memory)[0] == Reason.RunAccepted


FAILURES = [
    pytest.param({"apply Service": WriteRefused("no port")}, Reason.Refused, "no port", id="refused"),
    pytest.param(
        {"get Service": KindMissing("serving.kserve.io/v1beta1", "InferenceService")},
        Reason.KServeMissing,
        "this cluster does not serve InferenceService (serving.kserve.io/v1beta1)",
        id="KServe missing",
    ),
    pytest.param(
        {"get Service": KindMissing(API_VERSION, "DriftMonitor")},
        Reason.Refused,
        "this cluster does not serve DriftMonitor (churnops.dev/v1alpha1)",
        id="another kind missing",
    ),
    pytest.param({"alias": TrackingUnavailable("away")}, Reason.TrackingUnavailable, "away", id="tracking away"),
    pytest.param({"set alias": WriteRefused("no version")}, Reason.Refused, "no version", id="alias refused"),
    pytest.param(
        {"alias": TrackingUnavailable("away"), "create Job": WriteRefused("quota")},
        Reason.Refused,
        "quota",
        id="a refusal is worse than tracking that is away",
    ),
    pytest.param(
        {"apply Service": WriteRefused("first"), "create Job": WriteRefused("second")},
        Reason.Refused,
        "first",
        id="the first of two is told",
    ),
    pytest.param(
        {"apply Service": WriteRefused("first"), "create Job": KindMissing("batch/v1", "Job")},
        Reason.Refused,
        "first",
        id="the first of two kinds is told",
    ),
]


@pytest.mark.parametrize(("failures", "reason", "message"), FAILURES)
def test_what_stands_in_the_way_is_reported_and_keeps_nothing_else_back(
    failures: dict[str, Exception], reason: Reason, message: str
) -> None:
    memory = Memory(OWNER, echo(service(OWNER, "old")))
    memory.failures = failures
    wanted: list[Desired | Alias] = [ALIAS, DESIRED, ONCE]
    look(memory, Keeper(lambda _: wanted))
    assert ready(memory) == (reason, message)
    assert "delete Service old" in memory.done
    done = [entry for entry in memory.done if entry.split()[0] in {"apply", "create", "alias"}]
    assert len(done) == len(wanted) - len(failures)


def test_a_name_that_somebody_else_has_is_a_conflict_that_names_it() -> None:
    memory = Memory(OWNER, {"kind": "Service", "metadata": {"name": "web"}})
    look(memory, Keeper(lambda _: [DESIRED]))
    reason, message = ready(memory)
    assert reason == Reason.ChildConflict
    assert message.startswith("Service web exists and is not controlled by ChurnModel telco")


@pytest.mark.parametrize("call", ["get ChurnModel", "get Service", "apply Service", "status ChurnModel"])
def test_a_neighbour_that_is_away_ends_the_look_and_the_next_one_finishes_it(call: str) -> None:
    memory = Memory(OWNER)
    memory.failures[call] = Unavailable("away")
    keeper = Keeper(lambda _: [DESIRED, ONCE])
    with pytest.raises(Unavailable):
        look(memory, keeper)
    memory.failures.clear()
    look(memory, keeper)
    wanted = ["apply Service web", "create Job work", "status ChurnModel telco", "event telco RunAccepted"]
    assert memory.done == wanted


def test_events_tell_of_changes_of_status_or_reason_only() -> None:
    memory = Memory(OWNER)
    unknown = {"status": "Unknown", "reason": "Waiting"}
    good = {"status": "True", "reason": "RunAccepted", "message": "a"}
    again = good | {"message": "b"}
    other = {"status": "True", "reason": "Monitoring"}
    for condition in (unknown, good, again, other, unknown):
        look(memory, Keeper(condition=condition))
    events = [entry.split()[-1] for entry in memory.done if entry.startswith("event")]
    assert events == ["RunAccepted", "Monitoring", "Waiting"]
    assert memory.done.count("status ChurnModel telco") == 5


def test_what_a_move_has_told_no_condition_tells_again() -> None:
    move = Judgement("v2", holds=True, reason=Reason.RunAccepted, message="It moves.")
    look(memory := Memory(OWNER), Keeper(told=(move,)))
    assert [entry for entry in memory.done if entry.startswith("event")] == ["event telco RunAccepted"]
