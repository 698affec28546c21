"""A Gateway, its clients, and the pods that answer them: KServe's part, the controller's and theirs, played."""

from dataclasses import dataclass, field
from typing import Any

from support.predictors import Predictors, address_of

from churn_operator.api.base import API_VERSION
from churn_operator.churnmodel.counts import Counts
from churn_operator.churnmodel.observe import GATEWAY_API, SERVING_API
from churn_operator.churnmodel.route import route_seen
from churn_operator.core.client import MERGE, ApiClient
from churn_operator.core.objects import Object, name_of, owner_reference

GATEWAY = "public"
CONTROLLER = "example.com/played"
SERVER_LABEL = "serving.kserve.io/inferenceservice"


@dataclass
class Traffic:
    """Of one model, in one namespace."""

    api: ApiClient
    namespace: str
    predictors: Predictors
    clients: int = 1000
    """Requests that come in each step of a canary, as soon as the status tells of it."""
    asked: set[tuple[str, int, str]] = field(default_factory=set)
    """Steps that had theirs, so that what is counted in one is the same in every life: version, step, since when."""

    async def open(self) -> None:
        """The Gateway is there."""
        metadata = {"name": GATEWAY, "namespace": self.namespace}
        await self.api.create({"apiVersion": GATEWAY_API, "kind": "Gateway", "metadata": metadata, "spec": {}})

    async def play(self) -> None:
        await self._run()
        await self._route()
        await self._ask()

    async def _run(self) -> None:
        """Each server has one pod that is ready; one that is made anew has counted nothing."""
        servers = {name_of(one): one for one in await self.api.list(SERVING_API, "InferenceService", self.namespace)}
        pods = await self.api.list("v1", "Pod", self.namespace, labels=SERVER_LABEL)
        for name in servers.keys() - {pod["metadata"]["labels"][SERVER_LABEL] for pod in pods}:
            self.predictors.counts.pop(_version(name), None)
            await self._start(servers[name])

    async def _start(self, server: Object) -> None:
        name, address = f"{name_of(server)}-pod", address_of(_version(name_of(server)))
        labels = dict(server["metadata"]["labels"], **{SERVER_LABEL: name_of(server)})
        metadata = {"name": name, "namespace": self.namespace, "labels": labels}
        container = {"name": "kserve-container", "image": "predictor:1"}
        await self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": metadata | {"ownerReferences": [owner_reference(server)]},
                "spec": {"containers": [container]},
            }
        )
        ready = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        ready |= {"conditions": [{"type": "Ready", "status": "True"}]}
        await self._say(f"/api/v1/namespaces/{self.namespace}/pods/{name}/status", ready)

    async def _route(self) -> None:
        """The Gateway takes each change of a route."""
        for route in await self.api.list(GATEWAY_API, "HTTPRoute", self.namespace):
            generation = route["metadata"]["generation"]
            accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "observedGeneration": generation}
            parents = [
                {"parentRef": ref, "controllerName": CONTROLLER, "conditions": [accepted]}
                for ref in route["spec"]["parentRefs"]
            ]
            if route.get("status") != {"parents": parents}:
                path = f"/apis/{GATEWAY_API}/namespaces/{self.namespace}/httproutes/{name_of(route)}/status"
                await self._say(path, {"parents": parents})

    async def _ask(self) -> None:
        """Clients come as the route leads them, once in each step; all are answered."""
        model = await self.api.get(API_VERSION, "ChurnModel", self.namespace, "telco")
        rollout = (model or {}).get("status", {}).get("rollout", {})
        step = (rollout.get("version"), rollout.get("step"), rollout.get("since"))
        if rollout.get("phase") != "Shifting" or step in self.asked:
            return
        route = await self.api.get(GATEWAY_API, "HTTPRoute", self.namespace, "telco")
        assert route is not None
        self.asked.add(step)
        for version, weight in route_seen("telco", route).weights.items():
            self.predictors.counts[version] += Counts(self.clients * weight // 100)

    async def _say(self, path: str, status: dict[str, Any]) -> None:
        reply = await self.api.call("PATCH", path, body={"status": status}, content_type=MERGE)
        assert reply.ok or reply.is_absent_object, reply.message


def _version(server: str) -> str:
    return server.rpartition("-")[2]


def _kind(group: str, version: str, kind: str, plural: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    served = {"name": version, "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [served],
        },
    }


ROUTES = tuple(
    _kind("gateway.networking.k8s.io", "v1", kind, plural)
    for kind, plural in (("Gateway", "gateways"), ("HTTPRoute", "httproutes"))
)
"""The Gateway API's kinds, without a Gateway."""
