"""What the doctor says of clusters, each told by what kubectl would print."""

import json
from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest
import yaml
from hack.cluster import doctor
from hack.cluster.doctor import HANDED_ON, NAMESPACE, PASS_ON, RIGHTS, Finding, Right
from hack.demo.stage import REPOSITORY

VERSION = ("version", "-o", "json")
CRD = ("get", "crd", "inferenceservices.serving.kserve.io", "-o", "json")
MANAGERS = (
    *("get", "deployments", "--all-namespaces", "--field-selector", "metadata.name=kserve-controller-manager"),
    *("-o", "json"),
)
CONFIG = ("-n", "kserve", "get", "configmap", "inferenceservice-config", "-o", "json")
GATEWAYS = ("get", "gateways.gateway.networking.k8s.io", "--all-namespaces", "-o", "json")
ROUTES = ("get", "crd", "httproutes.gateway.networking.k8s.io")
METRICS = ("get", "--raw", "/apis/metrics.k8s.io/v1beta1")
CLASSES = ("get", "storageclass", "-o", "json")

SERVED = {"spec": {"versions": [{"name": "v1beta1", "served": True}]}}


class Cluster:
    """Answers what it was told to, and gives the rights it was told to."""

    def __init__(self, answers: dict[tuple[str, ...], Any] | None = None, rights: Iterable[Right] = ()) -> None:
        self.answers = answers or {}
        self.rights = set(rights)

    def __call__(self, *arguments: str, text: str = "") -> str | None:
        if arguments[:2] == ("create", "--raw"):
            asked = json.loads(text)["spec"]["resourceAttributes"]
            return json.dumps({"status": {"allowed": right(**asked) in self.rights}})
        return json.dumps(self.answers[arguments]) if arguments in self.answers else None


def right(verb: str, group: str, resource: str, subresource: str, namespace: str) -> Right:
    """As the doctor names it; a namespace that is not said is everywhere, or none."""
    kind = ".".join(filter(None, (resource, group)))
    name = "/".join(filter(None, (kind, subresource)))
    return verb, name, namespace


def server(version: str) -> Cluster:
    return Cluster({VERSION: {"serverVersion": {"gitVersion": version}}})


def kserve(image: str, mode: str = "Standard", ready: int = 1) -> Cluster:
    manager = {
        "metadata": {"namespace": "kserve"},
        "spec": {"template": {"spec": {"containers": [{"image": image}]}}},
        "status": {"readyReplicas": ready},
    }
    config = {"data": {"deploy": json.dumps({"defaultDeploymentMode": mode})}}
    return Cluster({CRD: SERVED, MANAGERS: {"items": [manager]}, CONFIG: config})


@pytest.mark.parametrize(
    ("version", "state"),
    [("v1.31.9", "missing"), ("v1.32.0", "ok"), ("v1.34.4-eks-1", "ok"), ("v2.0.0", "ok"), ("", "missing")],
)
def test_kubernetes_is_new_enough_from_1_32_on(version: str, state: str) -> None:
    assert doctor.kubernetes(server(version)).state == state


@pytest.mark.parametrize(
    ("cluster", "state", "found"),
    [
        pytest.param(Cluster(), "missing", "no InferenceService v1beta1", id="nothing"),
        pytest.param(Cluster({CRD: SERVED}), "missing", "InferenceServices, and no controller", id="kinds only"),
        pytest.param(kserve("kserve/kserve-controller:v0.19.0"), "missing", "v0.19.0", id="old"),
        pytest.param(kserve("registry:5000/kserve-controller:v0.20.0"), "ok", "v0.20.0", id="new enough"),
        pytest.param(kserve("kserve:v0.21.0", ready=0), "missing", "v0.21.0, not ready", id="not ready"),
        pytest.param(kserve("kserve@sha256:abc"), "optional", "kserve@sha256:abc", id="pinned by digest"),
    ],
)
def test_kserve_is_there_runs_and_is_new_enough(cluster: Cluster, state: str, found: str) -> None:
    finding = doctor.kserve(cluster)
    assert (finding.state, finding.found) == (state, found)
    assert bool(finding.todo) == (state != "ok")


@pytest.mark.parametrize(("mode", "state"), [("Standard", "ok"), ("RawDeployment", "ok"), ("Knative", "missing")])
def test_only_kserves_standard_mode_will_do(mode: str, state: str) -> None:
    finding = doctor.kserve_mode(kserve("kserve:v0.20.0", mode))
    assert (finding.state, finding.found) == (state, mode)


def test_a_gateway_is_optional_and_named_when_there_is_one() -> None:
    assert doctor.gateway(Cluster()).state == "optional"
    assert doctor.gateway(Cluster({ROUTES: {}, GATEWAYS: {"items": []}})).found == "Gateway API, no Gateway"
    public = {"metadata": {"namespace": "gateways", "name": "public"}}
    assert doctor.gateway(Cluster({ROUTES: {}, GATEWAYS: {"items": [public]}})) == Finding(
        "gateway", "ok", "gateways/public"
    )


def test_what_pods_use_is_measured_for_those_who_scale_by_it_only() -> None:
    finding = doctor.metrics(Cluster())
    assert (finding.state, finding.todo) == ("optional", "metrics-server, only for serving.autoscaling")
    assert doctor.metrics(Cluster({METRICS: {}})) == Finding("pod metrics", "ok", "metrics.k8s.io")


def test_a_storage_class_counts_when_it_is_the_default() -> None:
    slow = {"metadata": {"name": "slow"}}
    fast = {"metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}
    assert doctor.storage(Cluster({CLASSES: {"items": []}})).found == "none"
    assert doctor.storage(Cluster({CLASSES: {"items": [slow]}})).found == "none is the default"
    assert doctor.storage(Cluster({CLASSES: {"items": [slow, fast]}})) == Finding("storage class", "ok", "fast")


def cluster_wide(rights: Iterable[Right]) -> set[Right]:
    """As an API server is asked: everywhere is no namespace."""
    return {(verb, resource, namespace.strip("*")) for verb, resource, namespace in rights}


INSTALLER, OWNER = cluster_wide(RIGHTS), cluster_wide(HANDED_ON)


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        pytest.param({("*", "*.*", "")}, "", id="an administrator has all"),
        pytest.param(INSTALLER | OWNER, "", id="so has who has each of them"),
        pytest.param(INSTALLER | cluster_wide(PASS_ON), "", id="or may pass on what they have not"),
        pytest.param(
            INSTALLER | OWNER - {("patch", "churnmodels.churnops.dev/status", ""), ("get", "jobs.batch", "")},
            "not: patch churnmodels/status everywhere; get jobs everywhere",
            id="but not who gives what they have not",
        ),
        pytest.param(
            (INSTALLER | OWNER) - {("create", "secrets", "churn-system"), ("get", "secrets", "churn-system")},
            "not: get, create secrets in churn-system",
            id="nor who cannot keep Helm's record",
        ),
    ],
)
def test_rights_that_are_refused_are_named(rights: set[Right], missing: str) -> None:
    finding = doctor.rights(Cluster(rights=rights))
    assert (finding.state, finding.found if missing else "") == ("missing" if missing else "ok", missing)


MANIFESTS = [
    manifest
    for name in ("chart-full.yaml", "chart-smallest.yaml")
    for manifest in yaml.safe_load_all((REPOSITORY / "tests/golden" / name).read_text())
]


def plural(kind: str) -> str:
    name = kind.lower()
    return f"{name.removesuffix('y')}ies" if name.endswith("y") else f"{name}s"


def installing() -> set[Right]:
    """What Helm does with each of the chart's objects; in which namespaces else there are any, the values say.

    They also say whether the Prometheus Operator is to be given anything: few clusters know its kinds.
    """
    found = set()
    for manifest in MANIFESTS:
        group = manifest["apiVersion"].rpartition("/")[0]
        if group == "monitoring.coreos.com":
            continue
        resource = ".".join(filter(None, (plural(manifest["kind"]), group)))
        namespace = manifest["metadata"].get("namespace", "")
        if namespace in {"", NAMESPACE}:
            found |= {(verb, resource, namespace) for verb in ("get", "create", "patch", "delete")}
    return found


def handed_on() -> set[Right]:
    """What the chart's roles give, everywhere where it is not in the operator's own namespace."""
    found = set()
    for manifest in MANIFESTS:
        namespace = NAMESPACE if manifest["metadata"].get("namespace") == NAMESPACE else ""
        for rule in manifest.get("rules", ()):
            for group, resource, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"]):
                kind, _, part = resource.partition("/")
                found.add((verb, "/".join(filter(None, (".".join(filter(None, (kind, group))), part))), namespace))
    return found


def test_the_doctor_asks_for_what_the_charts_objects_take_and_its_roles_give() -> None:
    assert {plural(manifest["kind"]) for manifest in MANIFESTS} >= {"networkpolicies", "clusterroles"}
    assert not installing() - INSTALLER
    assert handed_on() == OWNER


def test_where_nobody_answers_that_is_the_only_line() -> None:
    assert [finding.what for finding in doctor.look(Cluster())] == ["API server"]


def test_the_table_keeps_every_word_and_its_columns() -> None:
    long = Finding("KServe", "missing", "found " * 10, "do " * 25)
    lines = doctor.table([doctor.ok("Kubernetes", "v1.34.4"), long]).splitlines()
    assert lines[1].split() == ["Kubernetes", "ok", "v1.34.4"]
    assert len(lines) == 4
    assert " ".join(lines).split().count("found") == 10
    assert " ".join(lines).split().count("do") == 25
    assert {line.index("found") for line in lines[2:]} == {lines[0].index("FOUND")}
    assert {line.index("do") for line in lines[2:] if "do" in line} == {lines[0].index("TO DO")}
