"""What is known without asking."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from churn_operator.core.objects import Object, Page
from churn_operator.core.store import Store


def make(name: str, version: int, kind: str = "Job", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"kind": kind, "metadata": metadata | fields.pop("metadata", {})} | fields


def labelled(name: str, **labels: str) -> dict[str, Any]:
    said = {f"churnops.dev/{key}": value for key, value in labels.items()}
    return make(name, 1, metadata={"labels": said | {"app.kubernetes.io/managed-by": "churn-operator"}})


def names(objects: tuple[Object, ...]) -> list[str]:
    return [obj["metadata"]["name"] for obj in objects]


async def listing(*objects: dict[str, Any], version: int) -> AsyncIterator[Page]:
    yield Page("", version, objects)


def test_of_two_states_the_later_counts_whoever_tells_it() -> None:
    store = Store(lambda: 0.0)
    store.see(make("a", 5, spec={"x": 1}))
    store.learn(make("a", 7, spec={"x": 2}))
    store.see(make("a", 6, spec={"x": 1}))
    known = store.get("Job", "team", "a")
    assert known is not None
    assert known["spec"] == {"x": 2}


def test_what_is_found_by_labels_carries_all_of_them() -> None:
    store = Store(lambda: 0.0)
    for obj in (
        labelled("b", model="telco", role="probe"),
        labelled("a", model="telco", role="probe"),
        labelled("c", model="telco", role="train"),
        labelled("d", model="other", role="probe"),
    ):
        store.see(obj)
    mine = "churnops.dev/model=telco,app.kubernetes.io/managed-by=churn-operator"
    assert names(store.list("Job", "team", labels=mine)) == ["a", "b", "c"]
    assert names(store.list("Job", "team", labels=f"{mine},churnops.dev/role=probe")) == ["a", "b"]
    assert names(store.list("Job", "team", labels="churnops.dev/role=probe")) == ["a", "b", "d"]
    assert store.list("Job", "elsewhere", labels=mine) == ()
    assert store.list("Job", "team", labels="churnops.dev/model=none") == ()


def test_runs_are_found_by_their_model_and_not_any_more_when_that_changes_or_they_go() -> None:
    store = Store(lambda: 0.0)
    for name in ("telco-1", "telco-2"):
        store.see(make(name, 1, "TrainingRun", spec={"modelRef": {"name": "telco"}}))
    fields = "spec.modelRef.name=telco"
    assert names(store.list("TrainingRun", "team", fields=fields)) == ["telco-1", "telco-2"]
    store.see(make("telco-1", 2, "TrainingRun", spec={"modelRef": {"name": "other"}}))
    store.see(make("telco-2", 2, "TrainingRun"), gone=True)
    assert store.list("TrainingRun", "team", fields=fields) == ()


def test_the_late_answer_to_a_write_does_not_bring_back_what_was_deleted() -> None:
    store = Store(lambda: 0.0)
    store.see(make("a", 1))
    store.see(make("a", 3), gone=True)
    store.learn(make("a", 2))
    assert store.get("Job", "team", "a") is None


def test_what_the_api_server_said_is_gone_no_watch_brings_back() -> None:
    store = Store(lambda: 0.0)
    store.see(make("a", 1))
    store.drop(make("a", 1))
    store.see(make("a", 2))
    store.see(make("a", 3), gone=True)
    store.see(make("a", 4))
    assert store.get("Job", "team", "a") is None


@pytest.mark.parametrize(
    "told",
    [
        pytest.param([("see", 2), ("learn", 3)], id="by an own write's answer"),
        pytest.param([("see", 2), ("show", 3)], id="by a watch"),
        pytest.param([("learn", 3), ("see", 2)], id="before the watch showed that it was lost"),
    ],
)
def test_what_lost_the_label_it_is_watched_by_is_known_again_when_it_has_it(told: list[tuple[str, int]]) -> None:
    """A watch with a selector shows the loss as a deletion, at the version of the change."""
    store = Store(lambda: 0.0)
    tell: dict[str, Callable[[Object], None]]
    tell = {"see": partial(store.see, gone=True), "show": store.see, "learn": store.learn}
    store.see(make("a", 1))
    for how, version in told:
        tell[how](make("a", version))
    assert names(store.list("Job", "team")) == ["a"]
    store.see(make("a", 3))
    assert store.lag() == 0


async def test_a_listing_finds_again_what_a_watch_showed_as_deleted() -> None:
    store = Store(lambda: 0.0)
    store.see(make("a", 1))
    store.see(make("a", 2), gone=True)
    await store.fill("Job", listing(make("a", 3), version=4))
    assert names(store.list("Job", "team")) == ["a"]


def test_the_deletion_of_the_one_before_does_not_take_its_successor_along() -> None:
    store = Store(lambda: 0.0)
    successor = make("a", 5, metadata={"uid": "another"})
    store.see(make("a", 1))
    store.learn(successor)
    store.see(make("a", 4), gone=True)
    assert store.get("Job", "team", "a") == successor | {"metadata": successor["metadata"] | {"managedFields": []}}


async def test_a_listing_forgets_what_is_gone_but_not_what_came_after_it() -> None:
    store = Store(lambda: 0.0)
    for obj in (make("stays", 1), make("gone", 2), make("new", 9), make("other", 1, "Pod")):
        store.see(obj)
    assert "Job" not in store.filled
    await store.fill("Job", listing(make("stays", 1), make("found", 3), version=5))
    assert "Job" in store.filled
    assert names(store.list("Job", "team")) == ["found", "new", "stays"]
    assert (store.count("Job"), store.count("Pod")) == (3, 1)


async def test_a_listing_of_nothing_does_not_forget_what_came_after_it() -> None:
    store = Store(lambda: 0.0)
    store.see(make("gone", 5))
    store.see(make("new", 11))
    await store.fill("Job", listing(version=10))
    assert names(store.list("Job", "team")) == ["new"]


async def test_each_namespace_is_judged_by_its_own_listing() -> None:
    """They are listed one after the other; what came between two listings is in neither."""
    store = Store(lambda: 0.0)

    async def both() -> AsyncIterator[Page]:
        yield Page("team", 100, [])
        store.learn(make("new", 120))
        yield Page("other", 150, [make("a", 5, metadata={"namespace": "other"})])

    store.see(make("gone", 90))
    store.see(make("late", 140, metadata={"namespace": "other"}))
    await store.fill("Job", both())
    assert names(store.list("Job", "team")) == ["new"]
    assert names(store.list("Job", "other")) == ["a"]


async def test_a_listing_is_as_old_as_its_oldest_page() -> None:
    store = Store(lambda: 0.0)

    async def pages() -> AsyncIterator[Page]:
        for version in (10, 12):
            yield Page("", version, [])

    store.see(make("between", 11))
    await store.fill("Job", pages())
    assert names(store.list("Job", "team")) == ["between"]


def test_only_our_own_managed_fields_are_kept() -> None:
    store = Store(lambda: 0.0)
    fields = [{"manager": "kubectl", "fieldsV1": {}}, {"manager": "churn-operator", "fieldsV1": {"f:spec": {}}}]
    store.see(make("a", 1, metadata={"managedFields": fields}))
    known = store.get("Job", "team", "a")
    assert known is not None
    assert known["metadata"]["managedFields"] == fields[1:]


def test_a_watch_that_does_not_show_what_was_written_lags() -> None:
    now = 100.0
    store = Store(lambda: now)
    store.see(make("a", 1))
    assert store.lag() == 0
    store.learn(make("a", 3))
    now = 160.0
    store.see(make("a", 2))
    assert store.lag() == 60
    store.see(make("a", 3))
    assert store.lag() == 0
    store.learn(make("a", 4))
    store.see(make("a", 5), gone=True)
    now = 300.0
    assert store.lag() == 0


async def test_each_state_is_news_once_whoever_tells_it_first() -> None:
    told: list[tuple[str, int, str]] = []

    def news(obj: Object, *, gone: bool, first: bool) -> None:
        how = "gone" if gone else "there" if first else "changed"
        told.append((obj["metadata"]["name"], int(obj["metadata"]["resourceVersion"]), how))

    store = Store(lambda: 0.0)
    store.news = (news,)
    await store.fill("Job", listing(make("a", 1), version=1))
    store.see(make("a", 1))
    store.learn(make("a", 2))
    store.see(make("a", 2))
    await store.fill("Job", listing(make("a", 2), make("b", 3), version=3))
    store.drop(make("a", 2))
    store.see(make("a", 4), gone=True)
    await store.fill("Job", listing(version=5))
    assert told == [("a", 1, "there"), ("a", 2, "changed"), ("b", 3, "changed"), ("a", 2, "gone"), ("b", 3, "gone")]
