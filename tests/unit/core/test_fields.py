"""When a live object is as an apply would leave it. The managedFields are as a real API server writes them."""

from typing import Any

import pytest
from support.echo import echo

from churn_operator.core.fields import is_current, is_overwritten, writers

PORTS_OWNED: dict[str, Any] = {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}}
PORT = {"name": "http", "port": 80}
LIVE_PORT = PORT | {"protocol": "TCP", "targetPort": 80}
OTHER_PORT = {"name": "other", "port": 81, "protocol": "TCP"}
CONDITION = {"type": "Ready", "status": "True"}
CONDITION_OWNED: dict[str, Any] = {'k:{"type":"Ready"}': {".": {}, "f:type": {}, "f:status": {}}}


def thing(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "b", "labels": {"app": "a"}}
    return {"apiVersion": "v1", "kind": "Thing", "metadata": metadata, "spec": spec}


def live(spec: dict[str, Any], owned: dict[str, Any]) -> dict[str, Any]:
    obj = echo(thing())
    obj["spec"] = spec
    fields = {f"f:{key}": value for key, value in owned.items()}
    labels: dict[str, Any] = {"f:metadata": {"f:labels": {"f:app": {}}}}
    obj["metadata"]["managedFields"][1]["fieldsV1"] = labels | ({"f:spec": fields} if fields else {})
    return obj


@pytest.mark.parametrize(
    ("desired", "found", "owned", "expected"),
    [
        pytest.param({"a": 1}, {"a": 1}, {"a": {}}, True, id="a field that is live and ours"),
        pytest.param({"a": 1}, {"a": 2}, {"a": {}}, False, id="another value"),
        pytest.param({"a": 1}, {}, {"a": {}}, False, id="a missing value"),
        pytest.param({"a": 1}, {"a": 1}, {}, False, id="the right value, but somebody else's"),
        pytest.param({"a": 1}, {"a": True}, {"a": {}}, False, id="a number is no truth value"),
        pytest.param({"a": 1.0}, {"a": 1}, {"a": {}}, True, id="a whole number written otherwise"),
        pytest.param({}, {"a": 1}, {"a": {}}, False, id="a field of ours that is wanted no more"),
        pytest.param({}, {"a": 1}, {}, True, id="a field of others"),
        pytest.param({"a": {"b": 1}}, {"a": 3}, {"a": {"f:b": {}}}, False, id="a map that is none any more"),
        pytest.param({"a": {}}, {}, {"a": {}}, True, id="an empty map that the server drops"),
        pytest.param({"a": []}, {}, {}, True, id="an empty list that the server drops"),
        pytest.param({"a": {}}, {"a": {"b": 1}}, {}, True, id="an empty map that others filled"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {"a": {}}, True, id="defaults in an atomic map of ours"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {}, False, id="an atomic map that somebody took"),
        pytest.param({"a": {"b": 1}}, {"a": 3}, {"a": {}}, False, id="an atomic map that is none any more"),
        pytest.param({"a": [1, 2]}, {"a": [1, 2]}, {"a": {}}, True, id="an atomic list"),
        pytest.param({"a": [1, 2]}, {"a": [2, 1]}, {"a": {}}, False, id="an atomic list in another order"),
        pytest.param({"a": [1]}, {"a": [1, 2]}, {"a": {}}, False, id="an atomic list that grew"),
        pytest.param({"a": [1]}, {}, {"a": {}}, False, id="an atomic list that is gone"),
        pytest.param({"a": [[]]}, {"a": [None]}, {"a": {}}, True, id="an empty list inside a list"),
        pytest.param({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]}, {"a": {}}, True, id="defaults in a list's item"),
        pytest.param({"ports": [PORT]}, {"ports": [LIVE_PORT]}, {"ports": PORTS_OWNED}, True, id="a defaulted key"),
        pytest.param(
            {"ports": [PORT]}, {"ports": [OTHER_PORT, LIVE_PORT]}, {"ports": PORTS_OWNED}, True, id="others' item"
        ),
        pytest.param({"ports": []}, {"ports": [LIVE_PORT]}, {"ports": PORTS_OWNED}, False, id="our item, not wanted"),
        pytest.param({"ports": [PORT]}, {"ports": [OTHER_PORT]}, {"ports": PORTS_OWNED}, False, id="our item, gone"),
        pytest.param(
            {"ports": [OTHER_PORT]}, {"ports": [LIVE_PORT, OTHER_PORT]}, {"ports": PORTS_OWNED}, False, id="new item"
        ),
        pytest.param(
            {"c": [CONDITION]}, {"c": [CONDITION | {"status": "False"}]}, {"c": CONDITION_OWNED}, False, id="item moved"
        ),
        pytest.param({"s": ["a"]}, {"s": ["b", "a"]}, {"s": {'v:"a"': {}}}, True, id="a set that others added to"),
        pytest.param({"s": ["a"]}, {"s": ["b"]}, {"s": {'v:"a"': {}}}, False, id="a set that lost ours"),
        pytest.param({"s": ["b"]}, {"s": ["a", "b"]}, {"s": {'v:"a"': {}}}, False, id="another member is wanted"),
        pytest.param(
            {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
            {"requests": {"cpu": "500m", "memory": "1Gi"}},
            {"requests": {"f:cpu": {}, "f:memory": {}}},
            True,
            id="the same quantities",
        ),
        pytest.param(
            {"r": [{"limits": {"cpu": "1"}}]},
            {"r": [{"limits": {"cpu": 1}}]},
            {"r": {}},
            True,
            id="quantities in a list",
        ),
        pytest.param(
            {"limits": {"cpu": "1"}},
            {"limits": {"cpu": "2"}},
            {"limits": {"f:cpu": {}}},
            False,
            id="more of a quantity",
        ),
        pytest.param({"limits": {"cpu": "1"}}, {}, {"limits": {"f:cpu": {}}}, False, id="a quantity that is gone"),
        pytest.param({"text": "0.5"}, {"text": "500m"}, {"text": {}}, False, id="a text that looks like a quantity"),
    ],
)
def test_an_object_is_current_when_what_is_wanted_is_live_and_ours(
    desired: dict[str, Any], found: dict[str, Any], owned: dict[str, Any], *, expected: bool
) -> None:
    assert is_current(thing(**desired), live(found, owned)) is expected


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"manager": "kubectl"}, id="of another manager"),
        pytest.param({"operation": "Update"}, id="of an update"),
        pytest.param({"apiVersion": "v2"}, id="of another version"),
        pytest.param({"subresource": "status"}, id="of a subresource"),
    ],
)
def test_only_our_own_apply_counts(entry: dict[str, str]) -> None:
    obj = echo(thing(a=1))
    assert is_current(thing(a=1), obj)
    obj["metadata"]["managedFields"][1] |= entry
    assert not is_current(thing(a=1), obj)


def test_an_object_without_managed_fields_is_not_current() -> None:
    assert not is_current(thing(a=1), thing(a=1))


def test_a_status_is_compared_with_the_status_that_was_applied() -> None:
    status = {"apiVersion": "v1", "kind": "Thing", "metadata": {}, "status": {"phase": "Ready"}}
    assert is_current(status, echo(status, "status"), "status")
    assert not is_current(status, echo(status), "status")


@pytest.mark.parametrize(
    ("desired", "found", "owned", "expected"),
    [
        pytest.param({"a": 1}, {"a": 2}, {}, True, id="a field that somebody took"),
        pytest.param({"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": {}}, True, id="one of two"),
        pytest.param({"a": 1}, {"a": 2}, {"a": {}}, False, id="a new value of our own"),
        pytest.param({"a": 1}, {}, {}, False, id="a field that is new"),
        pytest.param({"a": 1}, {"a": 1}, {}, False, id="the same value, of both"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 2, "c": 2}}, {}, True, id="an atomic map"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {}}, False, id="an atomic map of ours"),
        pytest.param({"a": [{"w": 90}]}, {"a": [{"w": 0}]}, {}, True, id="an atomic list"),
        pytest.param({"a": []}, {"a": ["b"]}, {}, True, id="a list that was to be empty"),
        pytest.param({"a": [{"w": 90}]}, {"a": [{"w": 0}]}, {"a": {}}, False, id="an atomic list of ours"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {}, True, id="an atomic map that grew"),
        pytest.param({"a": {"b": 1}}, {"a": {"c": 2}}, {}, False, id="a map that only others wrote to so far"),
        pytest.param({"ports": [PORT]}, {"ports": [LIVE_PORT]}, {"ports": PORTS_OWNED}, False, id="an item with a key"),
        pytest.param(
            {"ports": [PORT | {"targetPort": 8}]}, {"ports": [LIVE_PORT]}, {"ports": PORTS_OWNED}, True, id="one in it"
        ),
        pytest.param({"ports": [PORT]}, {"ports": []}, {"ports": PORTS_OWNED}, False, id="an item that is gone"),
        pytest.param({"a": 1}, {"a": 1, "z": 1}, {"a": {}}, False, id="what others add"),
    ],
)
def test_an_object_is_overwritten_when_another_value_in_it_is_not_ours(
    desired: dict[str, Any], found: dict[str, Any], owned: dict[str, Any], *, expected: bool
) -> None:
    assert is_overwritten(thing(**desired), live(found, owned)) is expected


def test_of_an_object_that_was_never_applied_nobody_knows_whether_it_was_overwritten() -> None:
    assert not is_overwritten(thing(a=1), thing(a=2))


def test_who_wrote_last_is_named_last_and_the_status_is_no_part_of_it() -> None:
    entries = [
        {"manager": "kubectl-edit", "time": "2026-11-21T12:00:00Z"},
        {"manager": "churn-operator", "time": "2026-11-21T12:00:01Z"},
        {"manager": "traefik", "time": "2026-11-21T12:00:02Z", "subresource": "status"},
        {"manager": "argocd-controller", "time": "2026-11-21T11:00:00Z"},
    ]
    assert writers({"metadata": {"managedFields": entries}}) == ("argocd-controller", "kubectl-edit")
