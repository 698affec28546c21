"""The chart on a real API server: what it may do there, and what it leaves behind."""

import json
from collections.abc import Iterator

import pytest
import yaml
from support.control_plane import ROOT, ControlPlane
from support.helm import CHART, SMALLEST, helm, render

CRDS = ("churnmodels.churnops.dev", "driftmonitors.churnops.dev", "trainingruns.churnops.dev")
OPERATOR = "--as=system:serviceaccount:churn-system:churn-operator"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server that has never heard of us, with an empty namespace in which pods are restricted."""
    plane = ControlPlane(tmp_path_factory.mktemp("bare"))
    try:
        plane.start()
        plane.kubectl("create", "namespace", "churn-system")
        plane.kubectl("label", "namespace", "churn-system", "pod-security.kubernetes.io/enforce=restricted")
        yield plane
    finally:
        plane.stop()


def helm_in(plane: ControlPlane, *arguments: str) -> str:
    return helm(*arguments, "--namespace=churn-system", f"--kubeconfig={plane.kubeconfig('admin')}")


@pytest.fixture(scope="module")
def release(bare: ControlPlane) -> ControlPlane:
    """The chart, installed."""
    helm_in(bare, "upgrade", "--install", "churn-operator", str(CHART), f"--values={SMALLEST}")
    bare.kubectl("wait", "--for=condition=Established", "crd", *CRDS, "--timeout=30s")
    return bare


MAY = [
    "watch churnmodels.churnops.dev",
    "create trainingruns.churnops.dev",
    "patch driftmonitors.churnops.dev",
    "delete driftmonitors.churnops.dev",
    "patch churnmodels.churnops.dev/status",
    "patch trainingruns.churnops.dev/status",
    "patch driftmonitors.churnops.dev/status",
    "create jobs.batch",
    "delete jobs.batch",
    "patch services",
    "list pods",
    "create events",
    "watch customresourcedefinitions.apiextensions.k8s.io",
    "get namespaces/kube-system",
]
MAY_AT_HOME = ["create leases.coordination.k8s.io", "update leases.coordination.k8s.io/churn-operator"]
MAY_NOT = [
    "get secrets",
    "list secrets",
    "watch secrets",
    "get configmaps",
    "get namespaces/default",
    "create leases.coordination.k8s.io",
    "update leases.coordination.k8s.io/churn-operator",
    "list namespaces",
    "patch churnmodels.churnops.dev",
    "delete churnmodels.churnops.dev",
    "delete trainingruns.churnops.dev",
    "approve trainingruns.churnops.dev",
    "approve churnmodels.churnops.dev",
    "create pods",
    "delete pods",
    "create pods/exec",
    "patch deployments.apps",
    "create clusterroles.rbac.authorization.k8s.io",
    "patch customresourcedefinitions.apiextensions.k8s.io",
]


def can(plane: ControlPlane, user: str, what: str, namespace: str = "default") -> bool:
    """Whether the user may do it in the namespace; `what` is a verb and a resource."""
    verb, resource = what.split()
    name, _, sub = resource.partition("/")
    arguments = [verb, name, f"--subresource={sub}"] if sub in {"status", "exec"} else [verb, resource]
    try:
        return plane.kubectl("auth", "can-i", *arguments, user, f"--namespace={namespace}", "--quiet") == ""
    except AssertionError:
        return False


@pytest.mark.parametrize("what", MAY)
def test_the_operator_may(release: ControlPlane, what: str) -> None:
    assert can(release, OPERATOR, what)


@pytest.mark.parametrize("what", MAY_AT_HOME)
def test_the_operator_may_in_its_own_namespace(release: ControlPlane, what: str) -> None:
    assert can(release, OPERATOR, what, "churn-system")


@pytest.mark.parametrize("what", MAY_NOT)
def test_the_operator_may_not(release: ControlPlane, what: str) -> None:
    assert not can(release, OPERATOR, what)


def test_with_namespaces_named_the_operator_may_nothing_elsewhere(bare: ControlPlane) -> None:
    bare.kubectl("create", "namespace", "watched")
    manifests = yaml.safe_load_all(render(SMALLEST, "--set=crds.install=false", "--set=watchNamespaces={watched}"))
    roles = [obj for obj in manifests if "Role" in obj["kind"]]
    for obj in roles:  # a release beside the one that other tests look at
        obj["metadata"]["name"] = obj["metadata"]["name"].replace("churn-operator", "narrow")
        del obj["metadata"]["labels"]
        if "roleRef" in obj:
            obj["roleRef"]["name"] = obj["roleRef"]["name"].replace("churn-operator", "narrow")
            obj["subjects"][0]["name"] = "narrow"
    bare.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": roles}))
    narrow = OPERATOR.replace("churn-operator", "narrow")
    namespaced = [what for what in MAY if "customresource" not in what and "namespaces" not in what]
    assert [what for what in namespaced if not can(bare, narrow, what, "watched")] == []
    assert [what for what in namespaced if can(bare, narrow, what, "default")] == []


@pytest.mark.parametrize("name", ["churn-operator", "churn-operator-collector"])
def test_each_pod_is_a_restricted_one(release: ControlPlane, name: str) -> None:
    manifests = yaml.safe_load_all(render(SMALLEST, "--set=crds.install=false"))
    deployments = {obj["metadata"]["name"]: obj for obj in manifests if obj["kind"] == "Deployment"}
    spec = deployments[name]["spec"]["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    release.kubectl("-n", "churn-system", "create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


def test_an_unrestricted_pod_would_have_been_refused(release: ControlPlane) -> None:
    spec = {"containers": [{"name": "root", "image": "any"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": spec}
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        release.kubectl("-n", "churn-system", "create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


def test_uninstalling_keeps_kinds_and_models_and_installing_again_takes_them_over(release: ControlPlane) -> None:
    release.kubectl("create", "-f", str(ROOT / "samples/minimal.yaml"))
    helm_in(release, "uninstall", "churn-operator")
    assert "telco" in release.kubectl("get", "churnmodel", "telco", "-o", "name")
    left = release.kubectl(
        "-n",
        "churn-system",
        "get",
        "deploy,service,serviceaccount",
        "-l",
        "app.kubernetes.io/name=churn-operator",
        "-o",
        "name",
    )
    roles = release.kubectl(
        "get",
        "clusterrole,clusterrolebinding,role,rolebinding",
        "-n",
        "churn-system",
        "-l",
        "app.kubernetes.io/name=churn-operator",
        "-o",
        "name",
    )
    assert left + roles == ""
    helm_in(release, "install", "churn-operator", str(CHART), f"--values={SMALLEST}")
    release.kubectl("delete", "churnmodel", "telco", "--timeout=5s")


def test_the_chart_has_the_kinds_of_the_repository(release: ControlPlane) -> None:
    """Applying crds/ over the chart's changes nothing."""
    generations = "-o=jsonpath={.items[*].metadata.generation}"
    before = release.kubectl("get", "crd", generations)
    release.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    assert release.kubectl("get", "crd", generations) == before


def test_whoever_may_edit_a_namespace_may_write_models_there(release: ControlPlane) -> None:
    """The aggregation itself is a controller's work: here it is done by hand, with what the chart offers to it."""
    offered = json.loads(
        release.kubectl("get", "clusterrole", "-o", "json", "-l", "app.kubernetes.io/name=churn-operator")
    )["items"]
    labels = {role["metadata"]["name"]: role["metadata"]["labels"] for role in offered}
    assert labels["churn-operator-view"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert labels["churn-operator-edit"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    for role, user in (("view", "viewer"), ("edit", "editor")):
        release.kubectl(
            "-n", "default", "create", "rolebinding", role, f"--clusterrole=churn-operator-{role}", f"--user={user}"
        )
    assert can(release, "--as=viewer", "get trainingruns.churnops.dev")
    assert not can(release, "--as=viewer", "create trainingruns.churnops.dev")
    assert can(release, "--as=editor", "create trainingruns.churnops.dev")
    assert not can(release, "--as=editor", "patch trainingruns.churnops.dev/status")
    assert can(release, "--as=editor", "patch churnmodels.churnops.dev/status")
    assert not can(release, "--as=editor", "approve trainingruns.churnops.dev")


def test_an_approver_may_approve_and_edit_nothing(release: ControlPlane) -> None:
    release.kubectl(
        *("-n", "default", "create", "rolebinding", "approver", "--user=approver"),
        "--clusterrole=churn-operator-approver",
    )
    may = [
        "get trainingruns.churnops.dev",
        "approve trainingruns.churnops.dev",
        "patch trainingruns.churnops.dev/status",
    ]
    may_not = ["approve churnmodels.churnops.dev", "patch churnmodels.churnops.dev", "create trainingruns.churnops.dev"]
    assert [what for what in may if not can(release, "--as=approver", what)] == []
    assert [what for what in may_not if can(release, "--as=approver", what)] == []
