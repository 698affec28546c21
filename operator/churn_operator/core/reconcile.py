"""The loop, once for one object: observe → decide → build → write → report → status → events.

The order makes it safe to be killed after any step:

* Up to `build` nothing is written. The next look starts from what is live, never from memory.
* Each write is whole in itself, and its outcome is seen by the next look: a child that exists is adopted under its
  fixed name, one that is current is left alone. Wanted objects are written before unwanted ones go.
* The status comes after the children it speaks of. A crash between the two leaves it a step behind, and the next look
  writes it. It is never a step ahead: what it says happened, did.
* Events come last: the status is the record, an event only its echo. A crash can lose one, never invent one.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from churn_operator.api.reasons import Reason
from churn_operator.core.conditions import STATUS, Judgement
from churn_operator.core.errors import ChildConflict, KindMissing, Outdated, TrackingUnavailable, WriteRefused
from churn_operator.core.fields import is_current, is_overwritten, writers
from churn_operator.core.kind import Cluster, D, Kind, W
from churn_operator.core.logs import know
from churn_operator.core.metrics import DECISIONS
from churn_operator.core.objects import Alias, Desired, Key, Object, Violation, is_controlled_by, name_of, uid_of
from churn_operator.core.plan import Action, Apply, Create, Delete, SetAlias, is_going, needs_apply, plan

PROBLEM_WAKE = timedelta(seconds=15)
"""A write that was refused is tried again after this long: a quota may be freed, a CRD installed, without any event."""

log = logging.getLogger(__name__)


class Writer(Protocol):
    """Every write there is. All but `event` raise WriteRefused where waiting cannot help, Unavailable where it can."""

    async def create(self, obj: Object) -> None:
        """Create; Outdated where the name is taken."""

    async def apply(self, obj: Object, live: Object | None) -> None:
        """Server-side apply; `live` is the object to change, None where there was none."""

    async def delete(self, live: Object) -> None:
        """Delete this very object, if it is still there."""

    async def apply_status(self, live: Object, status: dict[str, Any]) -> None:
        """Server-side apply of the whole status, if the object is still there."""

    async def set_alias(self, alias: Alias) -> None:
        """Point an alias of a registered model at a version."""

    async def event(self, about: Object, condition: Object, now: datetime) -> None:
        """A Kubernetes Event that says what a condition says; never raises."""


async def reconcile(kind: Kind[W, D], key: Key, cluster: Cluster, writer: Writer, now: datetime) -> timedelta | None:
    """Look at one object and do what is needed; the answer is when to look again even if nothing happens.

    Raises:
        Unavailable: a neighbour does not answer; look again later.
        WriteRefused: the status was refused: an operator and a CRD that do not fit together.
    """
    world = await kind.observe(cluster, key, now)
    if world is None:
        return None
    know(world.object)
    decision = kind.decide(world, now)
    actions = plan(world.object, world.children, kind.build(world, decision))
    problem = await _write(world.object, actions, cluster, writer, now)
    status = kind.report(world, decision, problem, now).to_dict()
    if not is_current(_with_status(world.object, status), world.object, "status"):
        await writer.apply_status(world.object, status)
        before = world.object.get("status", {})
        _count(kind.name, before, status)
        told = [_as_event(move) for move in kind.story(decision)]
        changed = _changed(before.get("conditions", ()), status.get("conditions", ()))
        said = {event["reason"] for event in told}
        for event in (*told, *(condition for condition in changed if condition["reason"] not in said)):
            await writer.event(world.object, event, now)
    return min((wake for wake in (decision.wake, PROBLEM_WAKE if problem else None) if wake is not None), default=None)


async def _write(
    owner: Object, actions: Sequence[Action], cluster: Cluster, writer: Writer, now: datetime
) -> Violation | None:
    """Carry out all actions; one that is refused does not keep the others back. The first and worst problem is told."""
    problem: Violation | None = None
    tracking: Violation | None = None
    for action in actions:
        try:
            await _carry_out(owner, action, cluster, writer, now)
        except TrackingUnavailable as error:
            tracking = tracking or Violation(Reason.TrackingUnavailable, str(error))
        except (WriteRefused, KindMissing) as error:
            problem = problem or Violation(error.reason, str(error))
    return problem or tracking


async def _carry_out(owner: Object, action: Action, cluster: Cluster, writer: Writer, now: datetime) -> None:
    match action:
        case Create(desired):
            await _create(owner, desired, cluster, writer)
        case Apply(obj, live):
            changed = await _changed_by_others(obj, live, cluster)
            await writer.apply(obj, live)
            _log("applied", obj)
            if changed is not None:
                await writer.event(owner, _as_event(changed), now)
        case Delete(live):
            await writer.delete(live)
            _log("deleted", live)
        case SetAlias(alias):
            pointed = await cluster.alias(alias.tracking_uri, alias.model, alias.alias)
            if pointed == alias.seen != alias.version:
                await writer.set_alias(alias)
                await writer.event(owner, _as_event(_moved(alias, pointed)), now)
                log.info("moved alias %s of %s to version %s", alias.alias, alias.model, alias.version)


async def _changed_by_others(obj: Object, live: Object, cluster: Cluster) -> Judgement | None:
    """What is to be said of an object that somebody changed; who it was, the API server alone knows."""
    if not is_overwritten(obj, live):
        return None
    fresh = await cluster.fresh(obj["apiVersion"], obj["kind"], obj["metadata"]["namespace"], name_of(obj))
    who = next(reversed(writers(fresh or live)), "somebody")
    what = f"{obj['kind']} {name_of(obj)}"
    message = f"{what} was changed by {who}, and is as it was asked for again: the operator keeps it so."
    return Judgement(what, holds=True, reason=Reason.ChildRestored, message=message)


async def _create(owner: Object, desired: Desired, cluster: Cluster, writer: Writer) -> None:
    obj = desired.object
    await _check_owner(owner, cluster)
    if desired.once:
        with contextlib.suppress(Outdated):  # the name is taken: by whom is asked below
            await writer.create(obj)
            _log("created", obj)
            return
    live = await cluster.fresh(obj["apiVersion"], obj["kind"], obj["metadata"]["namespace"], name_of(obj))
    if live is None and desired.once:
        raise Outdated(f"{obj['kind']} {name_of(obj)} was there a moment ago")
    if live is None:
        await writer.apply(obj, None)
        _log("created", obj)
    elif not is_controlled_by(live, owner):
        raise ChildConflict(
            f"{obj['kind']} {name_of(obj)} exists and is not controlled by {owner['kind']} {name_of(owner)}: "
            "delete or rename it."
        )
    elif desired.once:
        _check_labels(obj, live)
    elif needs_apply(desired, live):  # ours without our labels, so that no selector found it
        await writer.apply(obj, live)
        _log("applied", obj)


def _check_labels(wanted: Object, live: Object) -> None:
    """What is never touched again cannot be given back the labels by which it is found.

    Raises:
        ChildConflict: it lost some.
    """
    has = live["metadata"].get("labels", {})
    lost = [f"{label}={value}" for label, value in wanted["metadata"]["labels"].items() if has.get(label) != value]
    if lost:
        raise ChildConflict(
            f"{live['kind']} {name_of(live)} lost the label {' and '.join(lost)}, by which it is found: "
            "delete it, and it is made anew."
        )


async def _check_owner(owner: Object, cluster: Cluster) -> None:
    """What the watches showed may be late: an owner that is gone or going gets no more children.

    Raises:
        Outdated: it is.
    """
    live = await cluster.fresh(owner["apiVersion"], owner["kind"], owner["metadata"]["namespace"], name_of(owner))
    if live is None or uid_of(live) != uid_of(owner) or is_going(live):
        raise Outdated(f"{owner['kind']} {name_of(owner)} is gone")


def _log(verb: str, obj: Object) -> None:
    log.info("%s %s %s/%s", verb, obj["kind"], obj["metadata"]["namespace"], name_of(obj))


def _with_status(obj: Object, status: dict[str, Any]) -> Object:
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": {}, "status": status}


def _count(kind: str, before: Object, after: Object) -> None:
    """Every change is counted, also from what was not measured."""
    known = {(condition["type"], condition["reason"]) for condition in before.get("conditions", ())}
    for condition in after.get("conditions", ()):
        if (condition["type"], condition["reason"]) not in known:
            DECISIONS.labels(kind, condition["type"], condition["reason"]).inc()
    held = after.get("retraining", {}).get("heldBy")
    if held is not None and held != before.get("retraining", {}).get("heldBy"):
        DECISIONS.labels(kind, "Retraining", held).inc()


def _moved(alias: Alias, pointed: str | None) -> Judgement:
    """Whoever had pointed it elsewhere: a promotion before this one, or somebody who moved it by hand."""
    before = "was not there" if pointed is None else f"pointed at version {pointed}"
    why = f" {alias.why}" if alias.why else ""
    message = f"Alias {alias.alias} of {alias.model} {before}, and points at version {alias.version} now.{why}"
    return Judgement(f"{alias.alias}/{pointed}/{alias.version}", holds=True, reason=Reason.AliasMoved, message=message)


def _as_event(told: Judgement) -> Object:
    return {"type": told.type, "status": STATUS[told.holds], "reason": told.reason, "message": told.message}


def _changed(before: Sequence[Object], after: Sequence[Object]) -> Iterator[Object]:
    """Conditions whose status or reason is new. Not having been measured yet is no news."""
    known = {condition["type"]: (condition["status"], condition["reason"]) for condition in before}
    for condition in after:
        is_news = condition["type"] in known or condition["status"] != "Unknown"
        if is_news and known.get(condition["type"]) != (condition["status"], condition["reason"]):
            yield condition
