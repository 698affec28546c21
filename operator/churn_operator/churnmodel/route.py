"""The model's HTTPRoute: what it says, and whether its Gateways took it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from churn_operator.core.objects import Object

UNANSWERED = "the Gateway has not answered for the HTTPRoute"


@dataclass(frozen=True)
class RouteSeen:
    """The HTTPRoute, as it was read back."""

    weights: Mapping[str, int]
    """Percent of the requests, by version."""
    problem: str | None = None
    """Why a Gateway does not do as it says; None where every one does."""


def route_seen(model: str, route: Object) -> RouteSeen:
    """What the route says, and whether its Gateways took it as it is now."""
    backends = [backend for one in route["spec"].get("rules", ()) for backend in one.get("backendRefs", ())]
    weights = {_version_of(model, backend["name"]): int(backend.get("weight", 1)) for backend in backends}
    return RouteSeen(weights, _not_taken(route))


def _version_of(model: str, service: str) -> str:
    return service.removeprefix(f"{model}-").removesuffix("-predictor")


def _not_taken(route: Object) -> str | None:
    """What the first of its Gateways says that does not take it. One that it was attached to before says nothing."""
    namespace, generation = route["metadata"].get("namespace"), route["metadata"].get("generation", 0)
    told = [(_attached(one["parentRef"], namespace), one) for one in route.get("status", {}).get("parents", ())]
    for ref in route["spec"].get("parentRefs", ()):
        said = [_refused(one, generation) for parent, one in told if parent == _attached(ref, namespace)]
        if None not in said:
            return next(iter(said), UNANSWERED)
    return None


def _attached(ref: Object, namespace: str) -> tuple[str | None, ...]:
    """What a reference means, with the defaults of the Gateway API."""
    defaults = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": namespace}
    return tuple((defaults | dict(ref)).get(key) for key in ("group", "kind", "namespace", "name", "sectionName"))


def _refused(parent: Object, generation: int) -> str | None:
    conditions = {condition["type"]: condition for condition in parent.get("conditions", ())}
    if "Accepted" not in conditions:
        return UNANSWERED
    for condition in (conditions[type_] for type_ in ("Accepted", "ResolvedRefs") if type_ in conditions):
        if condition.get("observedGeneration", 0) < generation:
            return "the Gateway has not taken up the HTTPRoute's last change"
        if condition["status"] != "True":
            name = parent["parentRef"]["name"]
            return f"Gateway {name} does not take the HTTPRoute: {condition['reason']}: {condition['message']}"
    return None
