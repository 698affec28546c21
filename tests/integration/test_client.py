"""The client against a real API server."""

import asyncio
import itertools
import json
from datetime import UTC, datetime

import pytest
from support.control_plane import ControlPlane

from churn_operator.core.client import ApiClient
from churn_operator.core.errors import KindMissing, Unavailable, WriteRefused
from churn_operator.core.objects import Object


async def test_an_object_that_is_not_there_is_none(api: ApiClient, namespace: str) -> None:
    assert await api.get("churnops.dev/v1alpha1", "ChurnModel", namespace, "absent") is None


async def test_a_list_is_sorted_by_name_and_each_item_says_what_it_is(api: ApiClient, namespace: str) -> None:
    for name in ("b", "a"):
        metadata = {"name": name, "namespace": namespace, "labels": {"test": "yes"}}
        await api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    await api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}})
    found = await api.list("v1", "ConfigMap", namespace, labels="test=yes")
    named = await api.list("v1", "ConfigMap", namespace, fields="metadata.name=c")
    assert [(item["kind"], item["apiVersion"], item["metadata"]["name"]) for item in found] == [
        ("ConfigMap", "v1", "a"),
        ("ConfigMap", "v1", "b"),
    ]
    assert [item["metadata"]["name"] for item in named] == ["c"]


@pytest.mark.parametrize("api_version", ["v1", "churnops.dev/v1alpha1", "nobody.dev/v1"])
async def test_a_kind_that_is_not_served_is_missing(api: ApiClient, namespace: str, api_version: str) -> None:
    with pytest.raises(KindMissing, match=f"does not serve Nothing \\({api_version}\\)"):
        await api.get(api_version, "Nothing", namespace, "x")
    with pytest.raises(KindMissing):
        await api.list(api_version, "Nothing", namespace)


async def test_a_name_that_was_taken_meanwhile_passes(api: ApiClient, namespace: str) -> None:
    await api.create(make_config_map(namespace))
    with pytest.raises(Unavailable, match="already exists"):
        await api.create(make_config_map(namespace))


async def test_an_object_that_was_replaced_meanwhile_is_neither_changed_nor_deleted(
    control_plane: ControlPlane, api: ApiClient, namespace: str
) -> None:
    await api.create(make_config_map(namespace))
    old = await api.get("v1", "ConfigMap", namespace, "x")
    assert old is not None
    control_plane.kubectl("-n", namespace, "delete", "configmap/x")
    with pytest.raises(Unavailable, match="uid"):
        await api.apply(make_config_map(namespace), old)
    assert await api.get("v1", "ConfigMap", namespace, "x") is None
    await api.delete(old)
    await api.create(make_config_map(namespace))
    with pytest.raises(Unavailable):
        await api.delete(old)
    assert await api.get("v1", "ConfigMap", namespace, "x") is not None


async def test_a_status_of_an_object_that_is_gone_is_dropped(
    control_plane: ControlPlane, api: ApiClient, namespace: str, owner: Object
) -> None:
    control_plane.kubectl("-n", namespace, "delete", "chm/telco")
    await api.apply_status(owner, {"phase": "Pending"})
    assert await api.get("churnops.dev/v1alpha1", "ChurnModel", namespace, "telco") is None


async def test_a_status_that_the_schema_forbids_is_refused(api: ApiClient, owner: Object) -> None:
    with pytest.raises(WriteRefused, match=r"ChurnModel telco: .*phase"):
        await api.apply_status(owner, {"phase": "x" * 100})


async def test_a_namespace_that_is_not_there_refuses(api: ApiClient) -> None:
    with pytest.raises(WriteRefused, match="absent"):
        await api.create(make_config_map("absent"))


async def test_a_namespace_that_is_being_deleted_is_waited_out(
    control_plane: ControlPlane, api: ApiClient, namespace: str
) -> None:
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")
    with pytest.raises(Unavailable, match="being terminated"):
        await api.create(make_config_map(namespace))


async def test_a_webhook_that_is_away_is_told(control_plane: ControlPlane, api: ApiClient, namespace: str) -> None:
    control_plane.kubectl("create", "-f", "-", stdin=json.dumps(make_webhook(namespace)))
    try:
        with pytest.raises(WriteRefused, match="failed calling webhook"):
            await create_many(api, namespace)
    finally:
        control_plane.kubectl("delete", "validatingwebhookconfiguration", namespace)


async def test_an_event_that_cannot_be_written_is_no_failure(
    api: ApiClient, owner: Object, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = {**owner, "metadata": owner["metadata"] | {"namespace": "absent"}}
    condition = {"type": "Ready", "status": "True", "reason": "ChampionServing", "message": ""}
    await api.event(nowhere, condition, datetime.now(UTC))
    assert "Event ChampionServing of telco is lost" in caplog.text


async def test_a_user_without_rights_may_wait_for_them(control_plane: ControlPlane, namespace: str) -> None:
    nobody = await ApiClient.connect(str(control_plane.kubeconfig("nobody")))
    try:
        with pytest.raises(Unavailable, match="forbidden"):
            await nobody.get("v1", "ConfigMap", namespace, "x")
        with pytest.raises(WriteRefused, match="forbidden"):
            await nobody.create(make_config_map(namespace))
    finally:
        await nobody.close()


async def test_who_is_not_known_may_wait_for_a_login(control_plane: ControlPlane, namespace: str) -> None:
    stranger = await ApiClient.connect(str(control_plane.kubeconfig("stranger")))
    try:
        with pytest.raises(Unavailable, match="Unauthorized"):
            await stranger.get("v1", "ConfigMap", namespace, "x")
    finally:
        await stranger.close()


async def create_many(api: ApiClient, namespace: str) -> None:
    """The API server takes a moment to know of a new webhook."""
    async with asyncio.timeout(30):
        for number in itertools.count():
            await api.create(make_config_map(namespace, f"x{number}"))


def make_config_map(namespace: str, name: str = "x") -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}


def make_webhook(namespace: str) -> Object:
    """One that nobody answers, for ConfigMaps of the namespace."""
    webhook = {
        "name": "away.test.io",
        "clientConfig": {"url": "https://127.0.0.1:1"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [webhook],
    }


class Brief:
    """A fence that lets pass what asks, and has run out when the event loop has turned."""

    def __init__(self) -> None:
        self._left = 1.0

    def left(self) -> float:
        asyncio.get_running_loop().call_soon(self._end)
        return self._left

    def rest(self) -> float:
        return 10.0

    def _end(self) -> None:
        self._left = 0.0


async def test_no_write_is_sent_that_was_let_pass_before_the_event_loop_turned(api: ApiClient, namespace: str) -> None:
    api.fence = Brief()
    with pytest.raises(Unavailable, match="may not write any more"):
        await api.create(make_config_map(namespace))
    assert await api.get("v1", "ConfigMap", namespace, "x") is None
