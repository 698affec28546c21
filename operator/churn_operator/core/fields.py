"""Whether a live object already is what a server-side apply would make of it.

Three trees are walked side by side: what is wanted, what is live, and which live fields are ours (`managedFields`).
An object is current when every wanted field is live and ours, and nothing else is ours. What others own does not
count: defaults of the API server, of webhooks and of other controllers never look like a difference.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from churn_operator.core.objects import MANAGER, Object

Fields = Mapping[str, Any]
"""FieldsV1: `f:<field>`, `k:<key of a list item>` and `v:<item of a set>` lead down; `.` is the node itself."""

QUANTITIES = {"requests", "limits", "sizeLimit"}
"""Fields whose values, or whose values' values, are quantities: 0.5 and 500m are the same."""
UNTRACKED = {"name", "namespace", "uid"}
"""Fields of metadata that address an object and are in nobody's managedFields."""


def is_current(desired: Object, live: Object, subresource: str = "") -> bool:
    """True where applying `desired` would change nothing."""
    ours = _owned(live, desired["apiVersion"], subresource)
    return bool(ours) and _same(_wanted(desired), live, ours, quantity=False)


def is_overwritten(desired: Object, live: Object) -> bool:
    """True where somebody else wrote another value into a wanted field: it is not ours any more."""
    ours = _owned(live, desired["apiVersion"], "")
    return bool(ours) and _is_taken(_wanted(desired), live, ours)


def writers(live: Object) -> tuple[str, ...]:
    """Who else ever wrote fields that are there still, the last one last."""
    entries = live["metadata"].get("managedFields", ())
    others = [one for one in entries if one["manager"] != MANAGER and "subresource" not in one]
    return tuple(one["manager"] for one in sorted(others, key=lambda one: str(one.get("time", ""))))


def _wanted(desired: Object) -> Object:
    wanted = {key: value for key, value in desired.items() if key not in {"apiVersion", "kind"}}
    return wanted | {"metadata": {k: v for k, v in desired["metadata"].items() if k not in UNTRACKED}}


def _owned(live: Object, api_version: str, subresource: str) -> Fields | None:
    for entry in live["metadata"].get("managedFields", ()):
        if (
            entry["manager"] == MANAGER
            and entry["operation"] == "Apply"
            and entry["apiVersion"] == api_version
            and entry.get("subresource", "") == subresource
        ):
            fields: Fields = entry["fieldsV1"]
            return fields
    return None


def _same(desired: Any, live: Any, owned: Fields | None, *, quantity: bool) -> bool:
    if isinstance(desired, Mapping):
        return _same_map(desired, {} if live is None else live, owned, quantity=quantity)
    if isinstance(desired, Sequence) and not isinstance(desired, str):
        return _same_list(desired, [] if live is None else live, owned, quantity=quantity)
    return owned is not None and _equal(desired, live, quantity=quantity)


def _same_map(desired: Object, live: Any, owned: Fields | None, *, quantity: bool) -> bool:
    ours = dict(_below(owned, "f:"))
    if owned is not None and not ours:  # owned as a whole: nobody else can have changed a part of it
        return _covers(desired, live, quantity=quantity)
    return (
        isinstance(live, Mapping)
        and ours.keys() <= desired.keys()
        and all(
            _same(value, live.get(key), ours.get(key), quantity=quantity or key in QUANTITIES)
            for key, value in desired.items()
        )
    )


def _same_list(desired: Sequence[Any], live: Any, owned: Fields | None, *, quantity: bool) -> bool:
    keyed = [(json.loads(key), fields) for key, fields in _below(owned, "k:")]
    members = [json.loads(value) for value, _ in _below(owned, "v:")]
    if keyed:
        pairs = [next((pair for pair in keyed if _has_key(item, pair[0], lax=True)), None) for item in desired]
        return len(pairs) == len(keyed) and all(
            pair is not None and _same(item, _item(live, pair[0]), pair[1], quantity=quantity)
            for item, pair in zip(desired, pairs, strict=True)
        )
    if members:
        return sorted(members) == sorted(desired) and set(desired) <= set(live)
    return (owned is not None or not desired) and _covers(desired, live, quantity=quantity)


def _is_taken(desired: Any, live: Any, owned: Fields | None) -> bool:
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        return _is_map_taken(desired, live, owned)
    keyed = [(json.loads(key), fields) for key, fields in _below(owned, "k:")]
    if keyed:
        pairs = ((_lax_item(desired, key), _item(live or [], key), fields) for key, fields in keyed)
        return any(item is not None and _is_taken(item, there, fields) for item, there, fields in pairs)
    return owned is None and not _covers(desired, live, quantity=True)


def _is_map_taken(desired: Object, live: Object, owned: Fields | None) -> bool:
    ours = dict(_below(owned, "f:"))
    if owned is not None and not ours:  # owned as a whole
        return False
    has_grown = owned is None and 0 < len(desired) < len(live) and desired.keys() <= live.keys()
    return has_grown or any(_is_taken(value, live[key], ours.get(key)) for key, value in desired.items() if key in live)


def _below(owned: Fields | None, prefix: str) -> Iterator[tuple[str, Fields]]:
    for path, fields in (owned or {}).items():
        if path.startswith(prefix):
            yield path[len(prefix) :], fields


def _has_key(item: Any, key: Object, *, lax: bool = False) -> bool:
    """Lax: a part of the key that is left out is the API server's default, such as a port's protocol."""
    return isinstance(item, Mapping) and all(
        item.get(name, value if lax else None) == value for name, value in key.items()
    )


def _item(live: Any, key: Object) -> Any:
    return next((item for item in live if _has_key(item, key)), None)


def _lax_item(desired: Any, key: Object) -> Any:
    return next((item for item in desired if _has_key(item, key, lax=True)), None)


def _covers(desired: Any, live: Any, *, quantity: bool) -> bool:
    """True where `live` holds all of `desired`; a list must have as many items, in the same order."""
    if isinstance(desired, Mapping):
        return isinstance(live, Mapping) and all(
            _covers(value, live.get(key), quantity=quantity or key in QUANTITIES) for key, value in desired.items()
        )
    if isinstance(desired, Sequence) and not isinstance(desired, str):
        items = [] if live is None else live
        return len(items) == len(desired) and all(
            _covers(wanted, item, quantity=quantity) for wanted, item in zip(desired, items, strict=True)
        )
    return _equal(desired, live, quantity=quantity)


def _equal(desired: Any, live: Any, *, quantity: bool) -> bool:
    if quantity and _amount(desired) == _amount(live):
        return True
    return isinstance(desired, bool) == isinstance(live, bool) and bool(desired == live)


def _amount(value: Any) -> Any:
    """A quantity's value; what is none stands for itself."""
    try:
        return parse_quantity(value)  # type: ignore[no-untyped-call] # the library's
    except ValueError:
        return value
