"""The election, step by step, over an API server that keeps one object and under clocks of our own."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.fake_time import run

from churn_operator.core.client import Reply
from churn_operator.core.errors import Unavailable
from churn_operator.core.lease import Lease, LeaseLost
from churn_operator.core.objects import Object

SECONDS = 15.0


class Server:
    """Keeps one Lease, and refuses what is not written over its latest state."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.away = False

    async def call(self, method: str, path: str, *, body: Object | None = None) -> Reply:
        if self.away:
            raise Unavailable("away")
        if method == "GET":
            assert path.endswith("/leases/churn")
            return Reply(404, {}) if self.lease is None else Reply(200, self.lease)
        assert body is not None
        said = body["metadata"].get("resourceVersion")
        if said != (None if self.lease is None else str(self.version)):
            return Reply(409, {})
        self.version += 1
        self.lease = dict(body) | {"metadata": dict(body["metadata"]) | {"resourceVersion": str(self.version)}}
        return Reply(200, self.lease)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(server: Server, name: str, clock: Clock) -> Lease:
    return Lease(server, "team/churn", name, SECONDS, clock)  # type: ignore[arg-type] # all it uses of a client


def stepping(lease: Lease, clock: Clock, step: float = SECONDS) -> Callable[[], Coroutine[Any, Any, None]]:
    """Try until it is taken, with so much time between two tries."""

    async def attempts() -> None:
        while not await lease._attempt():  # noqa: SLF001 - one try of `acquire`, without its pause
            clock.now += step

    return attempts


def test_the_first_one_gets_it_and_may_write_for_two_thirds_of_its_time() -> None:
    server, clock = Server(), Clock()
    lease = make(server, "a", clock)
    assert lease.left() <= 0
    run(lease.acquire())
    assert (lease.left(), lease.rest()) == (10, 15)
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 0


def test_the_second_one_waits_for_the_whole_time_from_when_it_saw_the_last_renewal() -> None:
    server, clock = Server(), Clock()
    first, second = make(server, "a", clock), make(server, "b", clock)
    run(first.acquire())

    async def story() -> tuple[bool, bool, bool]:
        clock.now += 14
        late = await second._attempt()  # noqa: SLF001 - one try
        clock.now += 14.9
        before = await second._attempt()  # noqa: SLF001 - one try
        clock.now += 0.2
        return late, before, await second._attempt()  # noqa: SLF001 - one try

    assert run(story()) == (False, False, True)
    assert first.left() < 0 < second.left()


def test_who_wakes_after_its_lease_has_passed_on_may_not_write_and_learns_that_it_is_lost() -> None:
    server, clock = Server(), Clock()
    first, second = make(server, "a", clock), make(server, "b", clock)
    run(first.acquire())
    run(stepping(second, clock)())
    assert first.left() <= 0
    with pytest.raises(LeaseLost, match=f"lost to {second.identity}"):
        run(first.keep())
    assert second.left() > 0


def test_who_gets_no_answer_keeps_trying_until_it_may_not_write_any_more() -> None:
    server, clock = Server(), Clock()
    lease = make(server, "a", clock)
    run(lease.acquire())
    server.away = True
    clock.now += 9
    assert lease.left() == 1
    clock.now += 1
    with pytest.raises(LeaseLost, match=f"lost to {lease.identity}"):
        run(lease.keep())


def test_what_is_given_back_is_free_at_once_and_its_giver_writes_nothing_any_more() -> None:
    server, clock = Server(), Clock()
    first, second = make(server, "a", clock), make(server, "b", clock)
    run(first.acquire())
    run(first.release())
    assert first.left() <= 0
    run(second.acquire())
    assert second.left() > 0
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 1


def test_who_lost_it_does_not_give_back_what_is_another_ones() -> None:
    server, clock = Server(), Clock()
    first, second = make(server, "a", clock), make(server, "b", clock)
    run(first.acquire())
    run(stepping(second, clock)())
    run(first.release())
    assert server.lease is not None
    assert server.lease["spec"]["holderIdentity"] == second.identity


def test_a_container_that_starts_anew_in_the_same_pod_is_another_one() -> None:
    server, clock = Server(), Clock()
    assert make(server, "a", clock).identity != make(server, "a", clock).identity


def test_of_two_that_take_it_at_once_one_is_refused() -> None:
    server, clock = Server(), Clock()
    first, second = make(server, "a", clock), make(server, "b", clock)
    run(second._take())  # noqa: SLF001 - both read that there is none …
    assert server.lease is not None
    server.lease, kept = None, server.lease
    run(first._get())  # noqa: SLF001 - sees the Lease without trying for it
    server.lease = kept
    assert run(first._put({"holderIdentity": first.identity})) is False  # noqa: SLF001 - … and one was faster
    assert first.left() <= 0
