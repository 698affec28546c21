"""Who answers while the champion cannot. Pure.

Champion ─ it is silent ─▶ fallback ─ the champion answers, for SETTLING ─▶ champion
                              ▲────── it falls silent before that ──┘
"""

from datetime import datetime, timedelta

from churn_operator.api.churnmodel import FallbackStatus, ServedVersion, VersionState
from churn_operator.churnmodel.observe import ChurnModelWorld, Constant
from churn_operator.core import clock

SETTLING = timedelta(seconds=10)
"""A Service or a route that was changed leads to its new pods everywhere within this."""


def fallback_of(world: ChurnModelWorld) -> ServedVersion | Constant | None:
    """What is to stand in for the champion: a version that was champion and did not fail, or a constant."""
    fallback = world.spec.serving.fallback
    named = (v for v in world.status.versions if fallback is not None and v.version == fallback.version)
    return world.constant or next((v for v in named if v.state is VersionState.Retired), None)


def stands_in(world: ChurnModelWorld, champion: ServedVersion | None, now: datetime) -> FallbackStatus | None:
    """Who answers in the champion's place, or has just ceased to; None where the champion does.

    One that starts again and again does not have its clients led to and fro: it has them back once it answered for
    SETTLING. For as long after that its silence is not believed: it may be another's answer that was heard. Nor is that
    of one that was just promoted or called back: either goes before.
    """
    fallback = fallback_of(world)
    if champion is None or fallback is None or not _answers(world, fallback):
        return None
    last = _last(world, champion, fallback, now)
    server = world.server(champion.version)
    is_heard = server is not None and server.answer is not None and server.answer.ok
    if last is None:
        begins = not is_heard and not _is_recent(champion.since, now)
        return FallbackStatus(version=fallback.version, since=clock.stamp(now)) if begins else None
    if is_over(last, now) or is_heard == (last.recovered is not None):
        return last
    return last.model_copy(update={"recovered": clock.stamp(now) if is_heard else None})


def is_over(status: FallbackStatus, now: datetime) -> bool:
    """The champion has its clients back."""
    return status.recovered is not None and not _is_recent(status.recovered, now)


def _last(
    world: ChurnModelWorld, champion: ServedVersion, fallback: ServedVersion | Constant, now: datetime
) -> FallbackStatus | None:
    """What the status says, unless it speaks of another fallback, of another champion, or of what is long over."""
    last = world.status.fallback
    if last is None or last.version != fallback.version or clock.parse(last.since) <= clock.parse(champion.since):
        return None
    settled = last.recovered is not None and not _is_recent(last.recovered, now, SETTLING * 2)
    return None if settled else last


def _answers(world: ChurnModelWorld, fallback: ServedVersion | Constant) -> bool:
    server = world.server(fallback.version)
    return server is not None and server.answers


def _is_recent(at: str, now: datetime, within: timedelta = SETTLING) -> bool:
    return abs(now - clock.parse(at)) < within
