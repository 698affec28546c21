"""Every way in which a rollout can go on."""

from dataclasses import dataclass

from churn_operator.api.churnmodel import ServedVersion
from churn_operator.core.objects import Violation


@dataclass(frozen=True)
class Start:
    """An accepted version gets its server."""

    version: ServedVersion


@dataclass(frozen=True)
class Shift:
    """The challenger gets a share of the traffic."""

    version: ServedVersion
    step: int
    weight: int


@dataclass(frozen=True)
class Replay:
    """The challenger is asked what clients asked the champion; it gets no traffic."""

    version: ServedVersion
    attempt: int


@dataclass(frozen=True)
class Promote:
    """The version takes the traffic."""

    version: ServedVersion
    why: str


@dataclass(frozen=True)
class GiveUp:
    """The challenger gets no traffic any more."""

    version: ServedVersion
    violation: Violation


@dataclass(frozen=True)
class Restore:
    """The champion before takes the traffic back, and the version after it is never promoted again."""

    version: ServedVersion
    violation: Violation


@dataclass(frozen=True)
class Return:
    """A version that served before gets its server again, to take the traffic back when it answers."""

    version: ServedVersion
    violation: Violation


@dataclass(frozen=True)
class Decline:
    """An order that cannot be carried out."""

    why: str


@dataclass(frozen=True)
class Stay:
    """Traffic stays where it is."""

    waits_for: str = ""
    reason: str | None = None
    """Where a neighbour is in the way, and nothing that is bound to come."""


Move = Start | Shift | Replay | Promote | GiveUp | Restore | Return | Decline | Stay
