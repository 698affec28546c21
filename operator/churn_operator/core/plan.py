"""What has to be written so that the live objects become the desired ones. Nothing that changes nothing is in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from churn_operator.core.fields import is_current
from churn_operator.core.objects import (
    MANAGED_BY,
    MANAGER,
    Alias,
    Desired,
    Object,
    identity,
    is_controlled_by,
)


@dataclass(frozen=True)
class Create:
    """No child of this name was seen; whether another's object has the name is asked before the write."""

    desired: Desired


@dataclass(frozen=True)
class Apply:
    """The live child differs."""

    object: Object
    live: Object


@dataclass(frozen=True)
class SetAlias:
    """An alias of the registry; what it points at is asked before the write."""

    alias: Alias


@dataclass(frozen=True)
class Delete:
    """A child that is not wanted any more."""

    live: Object


Action = Create | Apply | SetAlias | Delete


def plan(owner: Object, children: Sequence[Object], desired: Sequence[Desired | Alias]) -> tuple[Action, ...]:
    """The writes, in the order wanted; deletions come last, so that nothing goes before its successor is there."""
    return (*_writes(owner, children, desired), *_deletions(owner, children, desired))


def _writes(owner: Object, children: Sequence[Object], desired: Sequence[Desired | Alias]) -> Iterator[Action]:
    ours = {identity(child): child for child in children if is_controlled_by(child, owner)}
    for item in desired:
        if isinstance(item, Alias):
            yield SetAlias(item)
            continue
        live = ours.get(identity(item.object))
        if live is None:
            yield Create(item)
        elif needs_apply(item, live):
            yield Apply(item.object, live)


def needs_apply(desired: Desired, live: Object) -> bool:
    """False for what is never touched again, what is going (its name is free at a later look), and what is current."""
    return not desired.once and not is_going(live) and not is_current(desired.object, live)


def is_going(live: Object) -> bool:
    return "deletionTimestamp" in live["metadata"]


def _deletions(owner: Object, children: Sequence[Object], desired: Sequence[Desired | Alias]) -> Iterator[Action]:
    wanted = {identity(item.object) for item in desired if isinstance(item, Desired)}
    for child in children:
        ours = child["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER and is_controlled_by(child, owner)
        if ours and not is_going(child) and identity(child) not in wanted:
            yield Delete(child)
