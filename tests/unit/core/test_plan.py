"""What is written, planned: nothing that changes nothing, and nothing is missed."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.echo import echo, with_defaults
from support.keeper import inference_service, job, service

from churn_operator.core.objects import Alias, Desired, Object, child_metadata
from churn_operator.core.plan import Apply, Create, Delete, SetAlias, plan

OWNER: dict[str, Any] = {
    "apiVersion": "churnops.dev/v1alpha1",
    "kind": "ChurnModel",
    "metadata": {"name": "telco", "namespace": "team", "uid": "uid-1"},
}
OTHER = OWNER | {"metadata": OWNER["metadata"] | {"uid": "uid-2"}}
ALIAS = Alias("http://mlflow", "team.telco", "champion", "1")

names = st.sampled_from(["a", "b", "requests", "limits"])
leaves = st.one_of(st.sampled_from(["", "x", "1", "500m"]), st.integers(-9, 9), st.booleans(), st.floats(0, 1))
specs = st.dictionaries(
    names,
    st.recursive(leaves, lambda child: st.lists(child, max_size=3) | st.dictionaries(names, child, max_size=3)),
    min_size=1,
    max_size=4,
)


def child(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": child_metadata(OWNER, "web"), "spec": dict(spec)}


def going(obj: Object) -> Object:
    return {**obj, "metadata": obj["metadata"] | {"deletionTimestamp": "2026-11-21T12:00:00Z"}}


def unlabelled(obj: Object) -> Object:
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "labels"}}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the leaves are."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from paths(below, (*path, key))
    elif isinstance(value, list):
        for position, below in enumerate(value):
            yield from paths(below, (*path, position))
    else:
        yield path


@settings(max_examples=50, deadline=None)
@given(specs)
def test_what_the_server_made_of_an_applied_object_needs_nothing(spec: dict[str, Any]) -> None:
    desired = child(spec)
    live = echo(desired)
    live["spec"] = with_defaults(live["spec"])
    assert plan(OWNER, [live], [Desired(desired)]) == ()


@settings(max_examples=50, deadline=None)
@given(specs, st.data())
def test_any_changed_leaf_is_one_apply(spec: dict[str, Any], data: st.DataObject) -> None:
    desired = child(spec)
    leaves_of_it = sorted(paths(desired["spec"]), key=str)
    assume(leaves_of_it)
    leaf = data.draw(st.sampled_from(leaves_of_it))
    live = echo(desired)
    *above, last = leaf
    where = live["spec"]
    for step in above:
        where = where[step]
    where[last] = "changed by somebody"
    assert plan(OWNER, [live], [Desired(desired)]) == (Apply(desired, live),)


@settings(max_examples=50, deadline=None)
@given(specs, names)
def test_a_field_that_was_wanted_before_is_one_apply(spec: dict[str, Any], extra: str) -> None:
    before = child(spec | {f"{extra}-before": {"deep": 1}})
    assert plan(OWNER, [echo(before)], [Desired(child(spec))]) == (Apply(child(spec), echo(before)),)


@pytest.mark.parametrize("build", [service, inference_service], ids=["service", "inference service"])
def test_the_loop_s_own_children_are_current_when_applied(build: Any) -> None:
    desired = build(OWNER)
    assert plan(OWNER, [echo(desired)], [Desired(desired)]) == ()


DESIRED, ONCE = Desired(service(OWNER)), Desired(job(OWNER), once=True)
LIVE, LIVE_ONCE = echo(DESIRED.object), echo(ONCE.object)
CHANGED = copy.deepcopy(LIVE) | {"spec": {}}


@pytest.mark.parametrize(
    ("children", "desired", "expected"),
    [
        pytest.param([], [DESIRED, ONCE], (Create(DESIRED), Create(ONCE)), id="absent ones are created"),
        pytest.param([LIVE, LIVE_ONCE], [DESIRED, ONCE], (), id="current ones are left alone"),
        pytest.param([CHANGED], [DESIRED], (Apply(DESIRED.object, CHANGED),), id="a different one is applied"),
        pytest.param([LIVE_ONCE | {"spec": {}}], [ONCE], (), id="what is made once is never touched"),
        pytest.param([LIVE], [], (Delete(LIVE),), id="one that is not wanted is deleted"),
        pytest.param([going(LIVE)], [], (), id="one that is going already is not deleted again"),
        pytest.param([going(CHANGED)], [DESIRED], (), id="the name of one that is going is waited for"),
        pytest.param([unlabelled(LIVE)], [], (), id="one without our label is not deleted"),
        pytest.param([echo(service(OTHER))], [], (), id="another's child is not deleted"),
        pytest.param([echo(service(OTHER))], [DESIRED], (Create(DESIRED),), id="another's child is no child"),
        pytest.param([LIVE], [ONCE, ALIAS], (Create(ONCE), SetAlias(ALIAS), Delete(LIVE)), id="deletions come last"),
    ],
)
def test_the_plan(children: list[Object], desired: list[Desired | Alias], expected: tuple[Any, ...]) -> None:
    assert plan(OWNER, children, desired) == expected
