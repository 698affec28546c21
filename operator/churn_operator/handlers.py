"""Which news wakes whom. Kopf watches; a handler here only tells the store, whose news put keys on the queue."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import kopf

from churn_operator.api.base import GROUP, VERSION
from churn_operator.core.client import PAGE
from churn_operator.core.objects import MANAGED_BY, MANAGER, MODEL_LABEL, Key, Object, name_of
from churn_operator.core.store import News, Store

OURS = ("churnmodels", "trainingruns", "driftmonitors")
KINDS = frozenset({"ChurnModel", "TrainingRun", "DriftMonitor"})
CHILDREN = (
    ("batch", "v1", "jobs"),
    ("", "v1", "pods"),
    ("", "v1", "services"),
    ("serving.kserve.io", "v1beta1", "inferenceservices"),
    ("gateway.networking.k8s.io", "v1", "httproutes"),
)
OWN_CHILDREN = f"{MANAGED_BY}={MANAGER}"
WATCHED = (
    *((f"{GROUP}/{VERSION}", kind, "") for kind in sorted(KINDS)),
    ("batch/v1", "Job", OWN_CHILDREN),
    ("v1", "Pod", OWN_CHILDREN),
    ("v1", "Service", OWN_CHILDREN),
    ("serving.kserve.io/v1beta1", "InferenceService", OWN_CHILDREN),
    ("gateway.networking.k8s.io/v1", "HTTPRoute", OWN_CHILDREN),
)
"""What the store is filled with: apiVersion, kind, and the labels that it must have."""
REQUEST_SECONDS = 30.0
IDLE_SECONDS = 0.1
"""Kopf keeps a task, and an object's last event, for this long."""
RECONNECT_SECONDS = 1.0
"""Kopf's pause before it lists a kind anew, where a listing broke off or a watch was too old, does not grow: an API
server that is in trouble would be asked by each kind ten times a second for all there is."""


@dataclass
class Index:
    """Who waits for whom, as far as news told. It is lost with the process and rebuilt by the first listing."""

    referrers: dict[Key, set[Key]] = field(default_factory=lambda: defaultdict(set))
    """By ChurnModel: its DriftMonitors and unfinished TrainingRuns."""
    jobs: dict[tuple[str, str], Key] = field(default_factory=dict)
    """By a Job's namespace and name: whose it is."""

    def wakes(self, obj: Object, *, gone: bool) -> Iterator[Key]:
        """The keys that news of an object concerns."""
        namespace, name, kind = obj["metadata"]["namespace"], name_of(obj), obj["kind"]
        key = Key(kind, namespace, name)
        if kind == "ChurnModel":
            yield key
            yield from sorted(self.referrers.get(key, ()))
        elif kind in KINDS:
            model = Key("ChurnModel", namespace, obj["spec"]["modelRef"]["name"])
            waits = not gone and "finishedAt" not in obj.get("status", {})
            self._refer(model, key, waits=waits)
            yield key
            yield model
        elif kind == "Pod":
            yield from self._of_pod(obj)
        elif (owner := _controller(obj)) is not None:
            if kind == "Job":
                self._remember_job(namespace, name, owner, gone=gone)
            yield owner

    def _refer(self, model: Key, key: Key, *, waits: bool) -> None:
        if waits:
            self.referrers[model].add(key)
        elif model in self.referrers:
            self.referrers[model].discard(key)
            if not self.referrers[model]:
                del self.referrers[model]

    def _of_pod(self, pod: Object) -> Iterator[Key]:
        """A Job's pod wakes the Job's owner; a server's pod, which KServe gave our labels, its model."""
        controller = _controller_reference(pod)
        if controller is None:
            return
        namespace = pod["metadata"]["namespace"]
        if controller["kind"] == "Job":
            owner = self.jobs.get((namespace, controller["name"]))
            if owner is not None:
                yield owner
        elif model := pod["metadata"].get("labels", {}).get(MODEL_LABEL):
            yield Key("ChurnModel", namespace, model)

    def _remember_job(self, namespace: str, name: str, owner: Key, *, gone: bool) -> None:
        if gone:
            self.jobs.pop((namespace, name), None)
        else:
            self.jobs[namespace, name] = owner


def _is_new(obj: Object) -> bool:
    """A model that nobody looked at yet: a thousand of them must not keep a change of another one waiting."""
    return obj["kind"] == "ChurnModel" and "status" not in obj


def _controller_reference(obj: Object) -> Object | None:
    return next((ref for ref in obj["metadata"].get("ownerReferences", ()) if ref.get("controller")), None)


def _controller(obj: Object) -> Key | None:
    ref = _controller_reference(obj)
    if ref is None or ref["kind"] not in KINDS:
        return None
    return Key(ref["kind"], obj["metadata"]["namespace"], ref["name"])


def waking(wake: Callable[[Key, bool], None]) -> News:
    """Wakes whom news concerns. What was there before, or a model that nobody looked at yet, waits for what changes."""
    index = Index()

    def news(obj: Object, *, gone: bool, first: bool) -> None:
        for key in index.wakes(obj, gone=gone):
            wake(key, first or _is_new(obj))

    return news


def registry(store: Store, started: Callable[[], None] = lambda: None) -> kopf.OperatorRegistry:
    """Watches of the three kinds and of their children.

    `on.event` alone: every other handler of Kopf's would write annotations or finalizers. `started` is called at each
    login, the first of which comes after Kopf took over the process' signals, so that they can be taken back.
    """
    handlers = kopf.OperatorRegistry()

    async def on_event(event: Any, **_: Any) -> None:
        store.see(event["object"], gone=event["type"] == "DELETED")

    async def login(**arguments: Any) -> kopf.ConnectionInfo | None:
        started()
        return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)

    kopf.on.login(registry=handlers)(login)
    for plural in OURS:
        kopf.on.event(GROUP, VERSION, plural, registry=handlers)(on_event)
    for group, version, plural in CHILDREN:
        kopf.on.event(group, version, plural, registry=handlers)(on_event)
    return handlers


class _NoDiffs(kopf.DiffBaseStorage):
    """Kopf copies each object twice to find out what changed in it. Nobody here asks: a look sees what there is."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> Any:  # noqa: ARG002 - the interface
        return {}

    def fetch(self, *, body: kopf.Body) -> Any:  # noqa: ARG002 - the interface
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Nothing is kept."""


def kopf_settings(*, everywhere: bool = True) -> kopf.OperatorSettings:
    """Kopf as a watcher that writes nothing.

    With namespaces named it does not watch which namespaces and kinds there are: it may not, and would ask for a minute
    before it begins. A KServe that comes later is then found by the listings, and the missing watch by /healthz.
    """
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = not everywhere
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.process.ultimate_exiting_timeout = None  # ten minutes after its tasks are ended it kills the process
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.watching.chunk_size = PAGE
    settings.watching.reconnect_backoff = RECONNECT_SECONDS
    for group, _, plural in CHILDREN:
        settings.watching.label_selectors[group, plural] = OWN_CHILDREN
    return settings
