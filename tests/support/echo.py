"""What an API server keeps of an applied object: the object, defaults of its own, and whose each field is."""

import copy
from collections.abc import Mapping
from typing import Any

from churn_operator.core.objects import MANAGER

ADDRESS = {"apiVersion", "kind"}
UNTRACKED = {"name", "namespace", "uid"}


def echo(desired: Mapping[str, Any], subresource: str = "") -> dict[str, Any]:
    """The live object after a server-side apply; lists are atomic, as they are where a schema says nothing."""
    live = copy.deepcopy(dict(desired))
    tracked = {key: value for key, value in desired.items() if key not in ADDRESS}
    tracked["metadata"] = {key: value for key, value in desired["metadata"].items() if key not in UNTRACKED}
    entry = {"manager": MANAGER, "operation": "Apply", "apiVersion": desired["apiVersion"], "fieldsV1": fields(tracked)}
    if subresource:
        entry["subresource"] = subresource
    live["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Update", "apiVersion": desired["apiVersion"], "fieldsV1": {}},
        entry,
    ]
    return live


def fields(value: Any) -> dict[str, Any]:
    """FieldsV1 of a value."""
    if not isinstance(value, Mapping):
        return {}
    return {f"f:{key}": fields(child) for key, child in value.items()}


def with_defaults(value: Any) -> Any:
    """The value as if every map in it had been given a default."""
    if isinstance(value, Mapping):
        return {key: with_defaults(child) for key, child in value.items()} | {"serverDefault": "x"}
    if isinstance(value, list):
        return [with_defaults(child) for child in value]
    return value
