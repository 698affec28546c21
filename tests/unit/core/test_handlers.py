"""Which event wakes whom."""

from typing import Any

import pytest

from churn_operator.core.objects import Key
from churn_operator.handlers import CHILDREN, Index, kopf_settings, waking

MODEL = Key("ChurnModel", "team", "telco")
RUN = Key("TrainingRun", "team", "telco-1")
MONITOR = Key("DriftMonitor", "team", "telco")


def make(kind: str, name: str, owner: Key | None = None, *, labels: dict[str, str] | None = None, **body: Any) -> Any:
    refs = [{"kind": owner.kind, "name": owner.name, "uid": "u", "controller": True}] if owner else []
    metadata = {"name": name, "namespace": "team", "ownerReferences": refs, "labels": labels or {}}
    return {"kind": kind, "metadata": metadata} | body


MODEL_OBJECT = make("ChurnModel", "telco")
RUN_OBJECT = make("TrainingRun", "telco-1", spec={"modelRef": {"name": "telco"}})
DONE_OBJECT = RUN_OBJECT | {"status": {"finishedAt": "2026-11-21T12:00:00Z"}}
MONITOR_OBJECT = make("DriftMonitor", "telco", spec={"modelRef": {"name": "telco"}})
JOB_OBJECT = make("Job", "telco-1-train", RUN)
JOB = Key("Job", "team", "telco-1-train")
POD_OBJECT = make("Pod", "telco-1-train-x", JOB)
GONE = True


@pytest.mark.parametrize(
    ("before", "event", "woken"),
    [
        pytest.param([], MODEL_OBJECT, [MODEL], id="a model wakes itself"),
        pytest.param([], RUN_OBJECT, [RUN, MODEL], id="a run wakes itself and its model"),
        pytest.param([], MONITOR_OBJECT, [MONITOR, MODEL], id="a monitor wakes itself and its model"),
        pytest.param(
            [RUN_OBJECT, MONITOR_OBJECT], MODEL_OBJECT, [MODEL, MONITOR, RUN], id="a model wakes those that refer to it"
        ),
        pytest.param([RUN_OBJECT, DONE_OBJECT], MODEL_OBJECT, [MODEL], id="a finished run waits for nobody"),
        pytest.param([], JOB_OBJECT, [RUN], id="a child wakes its owner"),
        pytest.param([], make("InferenceService", "telco-v1", MODEL), [MODEL], id="an inference service, too"),
        pytest.param([], make("Service", "telco"), [], id="a service of nobody wakes nobody"),
        pytest.param([], make("Service", "x", Key("Deployment", "team", "x")), [], id="nor does another's"),
        pytest.param([JOB_OBJECT], POD_OBJECT, [RUN], id="a Job's pod wakes the Job's owner"),
        pytest.param([], POD_OBJECT, [], id="a pod whose Job is not known yet wakes nobody: the Job will"),
        pytest.param(
            [],
            make("Pod", "telco-v1-x", Key("ReplicaSet", "team", "x"), labels={"churnops.dev/model": "telco"}),
            [MODEL],
            id="a server's pod wakes its model",
        ),
        pytest.param([], make("Pod", "x", Key("ReplicaSet", "team", "x")), [], id="a pod without our label"),
        pytest.param([], make("Pod", "x"), [], id="a pod of nobody"),
    ],
)
def test_an_event_wakes_those_it_concerns(before: list[Any], event: Any, woken: list[Key]) -> None:
    index = Index()
    for earlier in before:
        list(index.wakes(earlier, gone=False))
    assert list(index.wakes(event, gone=False)) == woken


def test_what_is_gone_is_not_woken_for_its_model_any_more() -> None:
    index = Index()
    assert list(index.wakes(RUN_OBJECT, gone=False)) == [RUN, MODEL]
    assert list(index.wakes(RUN_OBJECT, gone=True)) == [RUN, MODEL]
    assert list(index.wakes(MODEL_OBJECT, gone=False)) == [MODEL]


def test_a_job_that_is_gone_is_forgotten() -> None:
    index = Index()
    list(index.wakes(JOB_OBJECT, gone=False))
    list(index.wakes(JOB_OBJECT, gone=True))
    assert list(index.wakes(POD_OBJECT, gone=False)) == []


SEEN_OBJECT = MODEL_OBJECT | {"status": {"observedGeneration": 1}}


@pytest.mark.parametrize(
    ("obj", "first", "backlog"),
    [
        pytest.param(SEEN_OBJECT, False, False, id="a change goes first"),
        pytest.param(SEEN_OBJECT, True, True, id="what was there before waits for it"),
        pytest.param(MODEL_OBJECT, False, True, id="so does a model that nobody looked at yet"),
    ],
)
def test_a_thousand_that_are_new_keep_no_change_waiting(obj: Any, *, first: bool, backlog: bool) -> None:
    woken: list[tuple[Key, bool]] = []
    waking(lambda key, backlog: woken.append((key, backlog)))(obj, gone=False, first=first)
    assert woken == [(MODEL, backlog)]


def test_kopf_is_told_to_watch_only_our_children_and_to_write_nothing() -> None:
    settings = kopf_settings()
    assert not settings.posting.enabled
    assert settings.peering.standalone
    assert set(settings.watching.label_selectors.values()) == {"app.kubernetes.io/managed-by=churn-operator"}
    assert len(settings.watching.label_selectors) == len(CHILDREN)


def test_kopf_lists_a_kind_whose_listing_breaks_off_once_a_second_at_most() -> None:
    assert kopf_settings().watching.reconnect_backoff == 1


def test_kopf_does_not_kill_the_process_whose_watches_begin_anew() -> None:
    """It would, ten minutes after the first of them ended: seen in hack/bench/run neighbours."""
    assert kopf_settings().process.ultimate_exiting_timeout is None
