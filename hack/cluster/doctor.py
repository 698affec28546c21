"""What a cluster has and lacks for churn-operator, as one table. It only reads.

KUBECTL says which kubectl, KUBECONFIG which cluster: hack/doctor sets both.
"""

import json
import os
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

KUBERNETES = (1, 32)
KSERVE = (0, 20)
NAMESPACE = "churn-system"
AUTHORIZATION = "authorization.k8s.io/v1"
Right = tuple[str, str, str]
"""Verb, resource and namespace: "patch", "churnmodels.churnops.dev/status", "*" for all namespaces or "" for none."""


def _each(verbs: str, resources: str, namespace: str = "") -> tuple[Right, ...]:
    return tuple((verb, resource, namespace) for resource in resources.split() for verb in verbs.split())


WRITE = "get create patch delete"
RIGHTS = (
    *_each("get create patch", "namespaces customresourcedefinitions.apiextensions.k8s.io"),
    *_each(WRITE, "clusterroles.rbac.authorization.k8s.io clusterrolebindings.rbac.authorization.k8s.io"),
    *_each(WRITE, "validatingadmissionpolicies.admissionregistration.k8s.io"),
    *_each(WRITE, "validatingadmissionpolicybindings.admissionregistration.k8s.io"),
    *_each(WRITE, "roles.rbac.authorization.k8s.io rolebindings.rbac.authorization.k8s.io", NAMESPACE),
    *_each(WRITE, "deployments.apps services serviceaccounts", NAMESPACE),
    *_each(WRITE, "poddisruptionbudgets.policy networkpolicies.networking.k8s.io", NAMESPACE),
    # Helm's record of the release, and what it and `hack/install` wait for.
    *_each("get list create update delete", "secrets", NAMESPACE),
    *_each("list watch", "deployments.apps replicasets.apps pods", NAMESPACE),
)
"""What `hack/install` does."""
HANDED_ON = (
    *_each(
        "get list watch create update patch delete deletecollection",
        "churnmodels.churnops.dev trainingruns.churnops.dev driftmonitors.churnops.dev",
        "*",
    ),
    *_each("approve", "trainingruns.churnops.dev", "*"),
    *_each("get patch", "churnmodels.churnops.dev/status trainingruns.churnops.dev/status", "*"),
    *_each("patch", "driftmonitors.churnops.dev/status", "*"),
    *_each("get list watch create delete", "jobs.batch", "*"),
    *_each(
        "get list watch create patch delete",
        "services inferenceservices.serving.kserve.io httproutes.gateway.networking.k8s.io",
        "*",
    ),
    *_each("get", "gateways.gateway.networking.k8s.io", "*"),
    *_each("list watch", "pods", "*"),
    *_each("get create patch", "events", "*"),
    *_each("list watch", "customresourcedefinitions.apiextensions.k8s.io"),
    *_each("get", "namespaces"),
    *_each("get create update", "leases.coordination.k8s.io", NAMESPACE),
)
"""What the chart's roles give: who makes them must have it, or may pass on what they have not."""
PASS_ON = (
    *_each("escalate bind", "clusterroles.rbac.authorization.k8s.io"),
    *_each("escalate bind", "roles.rbac.authorization.k8s.io", NAMESPACE),
)
EVERYTHING: Right = ("*", "*.*", "*")
AT_ONCE = 8
"""kubectls."""

Ask = Callable[..., str | None]
"""kubectl with these arguments, and perhaps a `text` to read: what it printed, or None when it failed."""


@dataclass(frozen=True)
class Finding:
    """One line of the table. What is `optional` is missing, and nothing needs it yet."""

    what: str
    state: Literal["ok", "missing", "optional"]
    found: str
    todo: str = ""


def ok(what: str, found: str) -> Finding:
    return Finding(what, "ok", found)


def kubernetes(ask: Ask) -> Finding:
    said = ask("version", "-o", "json") or "{}"
    version = json.loads(said).get("serverVersion", {}).get("gitVersion", "")
    if _numbers(version) >= KUBERNETES:
        return ok("Kubernetes", version)
    return Finding("Kubernetes", "missing", version or "no version", f"upgrade to {_dotted(KUBERNETES)} or newer")


def kserve(ask: Ask) -> Finding:
    advice = f"install KServe {_dotted(KSERVE)} or newer in Standard mode: https://kserve.github.io/website"
    crd = _json(ask, "get", "crd", "inferenceservices.serving.kserve.io")
    if "v1beta1" not in [version["name"] for version in crd.get("spec", {}).get("versions", []) if version["served"]]:
        return Finding("KServe", "missing", "no InferenceService v1beta1", advice)
    manager = _kserve_manager(ask)
    if manager is None:
        return Finding("KServe", "missing", "InferenceServices, and no controller", advice)
    image = manager["spec"]["template"]["spec"]["containers"][0]["image"]
    version = image.rpartition(":")[2]
    if not _numbers(version):
        return Finding("KServe", "optional", image, f"see that this is {_dotted(KSERVE)} or newer")
    if _numbers(version) < KSERVE:
        return Finding("KServe", "missing", version, f"upgrade to {_dotted(KSERVE)} or newer")
    if not manager.get("status", {}).get("readyReplicas"):
        return Finding(
            "KServe", "missing", f"{version}, not ready", "look at its pods in the namespace of the controller"
        )
    return ok("KServe", version)


def kserve_mode(ask: Ask) -> Finding:
    manager = _kserve_manager(ask)
    if manager is None:
        return Finding("KServe's mode", "missing", "no controller", "install KServe first")
    namespace = manager["metadata"]["namespace"]
    config = _json(ask, "-n", namespace, "get", "configmap", "inferenceservice-config").get("data", {})
    mode = json.loads(config.get("deploy", "{}")).get("defaultDeploymentMode", "not said")
    if mode in {"Standard", "RawDeployment"}:
        return ok("KServe's mode", mode)
    todo = f"set defaultDeploymentMode to Standard in ConfigMap {namespace}/inferenceservice-config, section deploy"
    return Finding("KServe's mode", "missing", mode, todo)


def gateway(ask: Ask) -> Finding:
    if ask("get", "crd", "httproutes.gateway.networking.k8s.io") is None:
        return Finding("gateway", "optional", "no Gateway API", "a controller of it, if rollouts are to be canaries")
    gateways = _json(ask, "get", "gateways.gateway.networking.k8s.io", "--all-namespaces").get("items", [])
    if not gateways:
        return Finding("gateway", "optional", "Gateway API, no Gateway", "a Gateway, if rollouts are to be canaries")
    return ok("gateway", ", ".join(f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in gateways))


def metrics(ask: Ask) -> Finding:
    if ask("get", "--raw", "/apis/metrics.k8s.io/v1beta1") is None:
        return Finding("pod metrics", "optional", "no metrics.k8s.io", "metrics-server, only for serving.autoscaling")
    return ok("pod metrics", "metrics.k8s.io")


def storage(ask: Ask) -> Finding:
    classes = _json(ask, "get", "storageclass").get("items", [])
    default = "storageclass.kubernetes.io/is-default-class"
    named = [
        one["metadata"]["name"] for one in classes if one["metadata"].get("annotations", {}).get(default) == "true"
    ]
    if named:
        return ok("storage class", named[0])
    found = "none is the default" if classes else "none"
    return Finding("storage class", "optional", found, "for the demonstration's claims: make one the default")


def rights(ask: Ask) -> Finding:
    if _may(ask, EVERYTHING) or not (refused := _refused(ask)):
        return ok("rights", "all that an installation takes")
    todo = "ask for them, or let somebody who has them install the chart"
    return Finding("rights", "missing", f"not: {_told(refused)}", todo)


def services(ask: Ask) -> Finding:
    address = _json(ask, "get", "service", "kubernetes").get("spec", {}).get("clusterIP", "")
    if address and _connects(address, 443):
        return ok("Services from here", address)
    todo = "for make demo and test-e2e only: run them on a node, or with a route to the Services' addresses"
    return Finding("Services from here", "optional", f"{address or 'no address'} does not answer", todo)


CHECKS: tuple[Callable[[Ask], Finding], ...] = (
    kubernetes,
    kserve,
    kserve_mode,
    gateway,
    metrics,
    storage,
    rights,
    services,
)


def look(ask: Ask) -> list[Finding]:
    """All findings; only one where nobody answers."""
    if ask("get", "--raw", "/readyz") is None:
        return [
            Finding("API server", "missing", "no answer", "see that `kubectl get nodes` works, or run `make cluster`")
        ]
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        return list(pool.map(lambda check: check(ask), CHECKS))


def table(findings: Iterable[Finding]) -> str:
    rows = [("", "", "FOUND", "TO DO"), *((one.what, one.state, one.found, one.todo) for one in findings)]
    wrapped = [(what, state, _lines(found, 34), _lines(todo, 58)) for what, state, found, todo in rows]
    lines = []
    for what, state, found, todo in wrapped:
        for number in range(max(len(found), len(todo))):
            first = (what, state) if number == 0 else ("", "")
            parts = (*first, *(cell[number] if number < len(cell) else "" for cell in (found, todo)))
            lines.append("{:<19}{:<10}{:<36}{}".format(*parts).rstrip())
    return "\n".join(lines)


def kubectl(*arguments: str, text: str | None = None) -> str | None:
    command = [os.environ["KUBECTL"], "--request-timeout=10s", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, input=text)
    return done.stdout if done.returncode == 0 else None


def _json(ask: Ask, *arguments: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(ask(*arguments, "-o", "json") or "{}")
    return said


def _kserve_manager(ask: Ask) -> dict[str, Any] | None:
    name = "metadata.name=kserve-controller-manager"
    everywhere = ("get", "deployments", "--all-namespaces", "--field-selector", name)
    found: list[dict[str, Any]] = _json(ask, *everywhere).get("items", [])
    return found[0] if found else None


def _refused(ask: Ask) -> list[Right]:
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def without(rights: tuple[Right, ...]) -> list[Right]:
            allowed = pool.map(lambda right: _may(ask, right), rights)
            return [right for right, may in zip(rights, allowed, strict=True) if not may]

        return without(RIGHTS) + (without(HANDED_ON) if without(PASS_ON) else [])


def _may(ask: Ask, right: Right) -> bool:
    """As the API server says it, which `kubectl auth can-i` does not ask about kinds that are not installed."""
    verb, resource, namespace = right
    kind, _, part = resource.partition("/")
    name, _, group = kind.partition(".")
    asked = {"verb": verb, "group": group, "resource": name, "subresource": part, "namespace": namespace.strip("*")}
    review = {"apiVersion": AUTHORIZATION, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
    path = f"/apis/{AUTHORIZATION}/selfsubjectaccessreviews"
    said = json.loads(ask("create", "--raw", path, "-f", "-", text=json.dumps(review)) or "{}")
    return said.get("status", {}).get("allowed") is True


def _told(rights: Iterable[Right]) -> str:
    """Each resource with its verbs."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for verb, resource, namespace in rights:
        kind, _, part = resource.partition("/")
        name = "/".join(filter(None, (kind.partition(".")[0], part)))
        where = "" if not namespace else " everywhere" if namespace == "*" else f" in {namespace}"
        verbs.setdefault((name, where), []).append(verb)
    return "; ".join(f"{', '.join(said)} {name}{where}" for (name, where), said in verbs.items())


def _connects(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=3).close()
    except OSError:
        return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """(1, 34) of v1.34.4-eks-1; empty where it is no version."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return tuple(int(part) for part in match.groups()) if match else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _lines(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def main() -> int:
    context = (kubectl("config", "current-context") or "none").strip()
    server = (
        kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}") or "no server"
    ).strip()
    findings = look(kubectl)
    print(f"context {context}, {server}\n\n{table(findings)}")
    return int(any(one.state == "missing" for one in findings))


if __name__ == "__main__":
    sys.exit(main())
