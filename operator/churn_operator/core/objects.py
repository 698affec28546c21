"""Objects as the API server gives them, and what the operator wants of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Object = Mapping[str, Any]
"""A Kubernetes object as JSON; never changed after it was read."""

MANAGER = "churn-operator"
"""Field manager of every write, and the value of the managed-by label."""
MANAGED_BY = "app.kubernetes.io/managed-by"
MODEL_LABEL = "churnops.dev/model"
OWNED = {MANAGED_BY: MANAGER}


class Key(NamedTuple):
    """One object to look after."""

    kind: str
    namespace: str
    name: str


class Page(NamedTuple):
    """A part of what was listed."""

    namespace: str
    """Empty: of all."""
    version: int
    """The resourceVersion at which it was so."""
    items: Sequence[Object]


@dataclass(frozen=True)
class Desired:
    """An object as it should be.

    `once`: immutable after creation (Jobs, ConfigMaps, TrainingRuns): made where absent, never touched afterwards.
    """

    object: Object
    once: bool = False


CHAMPION_ALIAS = "champion"


@dataclass(frozen=True)
class Alias:
    """An alias of a registered model as it should be.

    `seen` is where it pointed when this was decided: at another by now, it is for the next look to judge. `why` says
    what became of that.
    """

    tracking_uri: str
    model: str
    alias: str
    version: str
    seen: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Violation:
    """A rule that does not hold: its reason is printed in conditions, events and columns."""

    reason: str
    message: str


def name_of(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def uid_of(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def identity(obj: Object) -> tuple[str, str]:
    """Kind and name: what tells two children of one namespace apart."""
    return str(obj["kind"]), name_of(obj)


def is_controlled_by(obj: Object, owner: Object) -> bool:
    refs = obj["metadata"].get("ownerReferences", ())
    return any(ref.get("controller") and ref["uid"] == uid_of(owner) for ref in refs)


def owner_reference(owner: Object) -> dict[str, Any]:
    """A controller reference: the child goes when its owner goes."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": False,
    }


def child_metadata(owner: Object, name: str, **labels: str) -> dict[str, Any]:
    """Metadata of a child: the operator's labels and an owner reference, in the owner's namespace."""
    return {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": OWNED | labels,
        "ownerReferences": [owner_reference(owner)],
    }
