"""The loop against a real API server: what it writes, and what it leaves alone."""

import json
import subprocess
from datetime import timedelta
from typing import Any

import pytest
from support.control_plane import ControlPlane
from support.keeper import API_VERSION, INFERENCE_SERVICES, Keeper, Look, inference_service, job, service

from churn_operator.core.client import ApiClient
from churn_operator.core.errors import Unavailable
from churn_operator.core.objects import MANAGED_BY, Desired, Object
from churn_operator.core.reconcile import PROBLEM_WAKE
from churn_operator.core.store import Store
from churn_operator.handlers import OWN_CHILDREN

VERSIONS = {"Service": "v1", "Job": "batch/v1", "Event": "v1", "ChurnModel": API_VERSION}


def keep_both(owner: Object) -> list[Desired]:
    return [Desired(service(owner)), Desired(job(owner), once=True)]


async def get(api: ApiClient, kind: str, namespace: str, name: str) -> Any:
    return await api.get(VERSIONS[kind], kind, namespace, name)


async def test_a_second_look_writes_nothing(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look
) -> None:
    keeper = Keeper(keep_both)
    await look(keeper, owner)
    first = control_plane.writes(namespace)
    await look(keeper, owner)
    await look(keeper, owner)
    assert first == ["patch services web", "create jobs work", "patch churnmodels/status telco"]
    assert control_plane.writes(namespace) == first


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(
            ["patch", "service/web", "-p", '{"spec":{"selector":{"extra":"one"}}}'], id="a selector that grew"
        ),
        pytest.param(
            ["patch", "service/web", "-p", '{"spec":{"selector":{"app":"other"}}}'], id="a selector that moved"
        ),
        pytest.param(["label", "service/web", "app.kubernetes.io/managed-by-"], id="our label taken away"),
        pytest.param(
            ["patch", "service/web", "-p", '{"spec":{"ports":[{"name":"http","port":80,"targetPort":1}]}}'],
            id="a port's target changed",
        ),
        pytest.param(["delete", "service/web"], id="deleted"),
    ],
)
async def test_what_somebody_changed_in_ours_is_put_back_with_one_write(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient, arguments: list[str]
) -> None:
    keeper = Keeper(keep_both)
    await look(keeper, owner)
    before = await get(api, "Service", namespace, "web")
    done = control_plane.writes(namespace)
    control_plane.kubectl("-n", namespace, *arguments)
    await look(keeper, owner)
    await look(keeper, owner)
    after = await get(api, "Service", namespace, "web")
    assert control_plane.writes(namespace) == [*done, "patch services web"]
    assert after["spec"]["selector"] == before["spec"]["selector"]
    assert after["spec"]["ports"] == before["spec"]["ports"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    told = [
        event["message"] for event in await api.list("v1", "Event", namespace) if event["reason"] == "ChildRestored"
    ]
    changed = arguments[0] == "patch"
    assert told == (
        ["Service web was changed by kubectl-patch, and is as it was asked for again: the operator keeps it so."]
        if changed
        else []
    )


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["annotate", "service/web", "someone=else"], id="an annotation"),
        pytest.param(["label", "service/web", "someone=else"], id="a label"),
        pytest.param(["patch", "service/web", "-p", '{"spec":{"sessionAffinity":"ClientIP"}}'], id="another field"),
        pytest.param(["label", "churnmodel/telco", "someone=else"], id="a label of the owner"),
    ],
)
async def test_what_others_add_is_theirs(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, arguments: list[str]
) -> None:
    keeper = Keeper(keep_both)
    await look(keeper, owner)
    done = control_plane.writes(namespace)
    control_plane.kubectl("-n", namespace, *arguments)
    await look(keeper, owner)
    assert control_plane.writes(namespace) == done


async def test_a_field_that_is_wanted_no_more_goes_with_one_write(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    annotated = service(owner)
    annotated["metadata"]["annotations"] = {"note": "old"}
    await look(Keeper(lambda _: [Desired(annotated)]), owner)
    plain = Keeper(lambda _: [Desired(service(owner))])
    await look(plain, owner)
    done = control_plane.writes(namespace)
    await look(plain, owner)
    live = await get(api, "Service", namespace, "web")
    assert "annotations" not in live["metadata"]
    assert done == ["patch services web", "patch churnmodels/status telco", "patch services web"]
    assert control_plane.writes(namespace) == done


async def test_what_is_made_once_is_never_touched(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look
) -> None:
    await look(Keeper(keep_both), owner)
    other = job(owner)
    other["metadata"]["annotations"] = {"changed": "yes"}
    done = control_plane.writes(namespace)
    await look(Keeper(lambda _: [Desired(service(owner)), Desired(other, once=True)]), owner)
    assert control_plane.writes(namespace) == done


async def test_children_that_are_wanted_no_more_are_deleted(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    await look(Keeper(keep_both), owner)
    await look(Keeper(), owner)
    assert control_plane.writes(namespace)[-2:] == ["delete services web", "delete jobs work"]
    assert await get(api, "Service", namespace, "web") is None


async def test_an_object_of_somebody_else_is_a_conflict_and_untouched(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    control_plane.kubectl("-n", namespace, "create", "service", "clusterip", "web", "--tcp=1:1")
    wake = await look(Keeper(keep_both, wake=timedelta(hours=1)), owner)
    model = await get(api, "ChurnModel", namespace, "telco")
    (ready,) = model["status"]["conditions"]
    assert (ready["status"], ready["reason"]) == ("False", "ChildConflict")
    assert "Service web" in ready["message"]
    assert control_plane.writes(namespace) == ["create jobs work", "patch churnmodels/status telco"]
    assert wake == PROBLEM_WAKE


async def test_a_child_whose_labels_were_lost_is_adopted_again(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    await look(Keeper(keep_both), owner)
    before = await get(api, "Job", namespace, "work")
    control_plane.kubectl("-n", namespace, "label", "job/work", "app.kubernetes.io/managed-by-")
    await look(Keeper(keep_both), owner)
    after = await get(api, "Job", namespace, "work")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def next_shown(control_plane: ControlPlane, path: str, since: Object) -> Any:
    """The next event of a watch of what is ours, as the operator's is."""
    words = f"watch=1&labelSelector={OWN_CHILDREN}&resourceVersion={since['metadata']['resourceVersion']}"
    admin, program = control_plane.kubeconfig("admin"), control_plane.programs["KUBECTL"]
    command = [program, f"--kubeconfig={admin}", "get", "--raw", f"{path}?{words}&timeoutSeconds=30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        line = watch.stdout.readline()
        watch.terminate()
    return json.loads(line)


async def test_a_watch_shows_what_lost_its_label_as_deleted_with_the_version_of_that_change(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    await look(Keeper(keep_both), owner)
    before = await get(api, "Job", namespace, "work")
    control_plane.kubectl("-n", namespace, "label", "job/work", f"{MANAGED_BY}-")
    after = await get(api, "Job", namespace, "work")
    shown = next_shown(control_plane, f"/apis/batch/v1/namespaces/{namespace}/jobs", before)
    assert (shown["type"], shown["object"]["metadata"]["uid"]) == ("DELETED", before["metadata"]["uid"])
    assert shown["object"]["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
    store = Store(lambda: 0.0)
    store.see(before)
    store.see(shown["object"], gone=True)
    assert store.get("Job", namespace, "work") is None
    control_plane.kubectl("-n", namespace, "label", "job/work", OWN_CHILDREN)
    store.see(await get(api, "Job", namespace, "work"))
    assert store.get("Job", namespace, "work") is not None, "what is said of it after that counts again"


async def test_a_child_that_is_going_is_left_alone_and_replaced_when_it_is_gone(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    keeper = Keeper(keep_both)
    await look(keeper, owner)
    before = await get(api, "Service", namespace, "web")
    control_plane.kubectl("-n", namespace, "patch", "service/web", "-p", '{"metadata":{"finalizers":["test.io/hold"]}}')
    control_plane.kubectl("-n", namespace, "delete", "service/web", "--wait=false")
    done = control_plane.writes(namespace)
    await look(keeper, owner)
    assert control_plane.writes(namespace) == done
    control_plane.kubectl("-n", namespace, "patch", "service/web", "-p", '{"metadata":{"finalizers":null}}')
    await look(keeper, owner)
    after = await get(api, "Service", namespace, "web")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


async def test_what_the_api_server_refuses_is_told_in_its_words_and_keeps_nothing_else_back(
    namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    await look(Keeper(lambda _: [Desired(service(owner, port=99999)), Desired(job(owner), once=True)]), owner)
    model = await get(api, "ChurnModel", namespace, "telco")
    (ready,) = model["status"]["conditions"]
    assert ready["reason"] == "Refused"
    assert "spec.ports[0].port" in ready["message"]
    assert await get(api, "Job", namespace, "work") is not None


async def test_a_field_that_the_api_server_does_not_know_is_refused(
    namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    strange = service(owner)
    strange["spec"]["colour"] = "red"
    await look(Keeper(lambda _: [Desired(strange)]), owner)
    model = await get(api, "ChurnModel", namespace, "telco")
    (ready,) = model["status"]["conditions"]
    assert ready["reason"] == "Refused"
    assert "colour" in ready["message"]


async def test_a_field_of_the_status_that_somebody_else_wrote_stays_and_causes_no_write(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    keeper = Keeper()
    await look(keeper, owner)
    done = control_plane.writes(namespace)
    written = '{"status":{"links":{"endpoint":"http://person"}}}'
    control_plane.kubectl("-n", namespace, "patch", "chm/telco", "--subresource=status", "--type=merge", "-p", written)
    await look(keeper, owner)
    model = await get(api, "ChurnModel", namespace, "telco")
    assert control_plane.writes(namespace) == done
    assert model["status"]["links"] == {"endpoint": "http://person"}


async def test_each_change_of_a_condition_is_one_event_and_the_same_news_is_counted(
    namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    good = {"status": "True", "reason": "ChampionServing", "message": "It answers."}
    bad = {"status": "False", "reason": "ChampionNotAnswering", "message": "It is silent. " + "é" * 1000}
    for condition in (good, good, bad, good):
        await look(Keeper(condition=condition), owner)
    events = await api.list("v1", "Event", namespace)
    seen = sorted((event["type"], event["reason"], event["count"], event["involvedObject"]["name"]) for event in events)
    assert seen == [
        ("Normal", "ChampionServing", 2, "telco"),
        ("Warning", "ChampionNotAnswering", 1, "telco"),
    ]


async def test_kserve_missing_is_a_condition_and_its_coming_is_found_without_a_restart(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    keeper = Keeper(lambda _: [Desired(inference_service(owner)), Desired(service(owner))])
    assert await look(keeper, owner) == PROBLEM_WAKE
    model = await get(api, "ChurnModel", namespace, "telco")
    (ready,) = model["status"]["conditions"]
    assert ready["reason"] == "KServeMissing"
    assert "InferenceService" in ready["message"]
    control_plane.kubectl("create", "-f", "-", stdin=json.dumps(INFERENCE_SERVICES))
    try:
        control_plane.kubectl("wait", "--for=condition=Established", "crd", INFERENCE_SERVICES["metadata"]["name"])
        assert await look(keeper, owner) is None
        assert control_plane.writes(namespace)[-2:] == [
            "patch inferenceservices server",
            "patch churnmodels/status telco",
        ]
    finally:
        control_plane.kubectl("delete", "crd", INFERENCE_SERVICES["metadata"]["name"])
    assert await look(keeper, owner) == PROBLEM_WAKE


async def test_an_api_server_that_is_away_is_waited_for(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look
) -> None:
    keeper = Keeper(keep_both)
    control_plane.stop_api_server()
    try:
        with pytest.raises(Unavailable, match="API server"):
            await look(keeper, owner)
    finally:
        control_plane.start_api_server()
    await look(keeper, owner)
    await look(keeper, owner)
    assert control_plane.writes(namespace) == [
        "patch services web",
        "create jobs work",
        "patch churnmodels/status telco",
    ]


async def test_an_owner_that_is_gone_is_nothing_to_do(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look
) -> None:
    control_plane.kubectl("-n", namespace, "delete", "chm/telco")
    assert await look(Keeper(keep_both, wake=timedelta(seconds=1)), owner) is None
    assert control_plane.writes(namespace) == []
