"""What can stand in the way. An error's class says whether waiting helps."""

from collections.abc import Mapping
from typing import Self

LONGEST_WISH = 600.0
"""Seconds: no neighbour is left alone for longer, whatever it asks for."""


MISSING = {"InferenceService": "KServeMissing"}
"""What it is called where a kind that somebody else installs is not served."""


class KindMissing(Exception):
    """The API server does not serve a kind: its CRD is not installed."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(f"this cluster does not serve {kind} ({api_version})")
        self.reason = MISSING.get(kind, "Refused")


class Obstacle(Exception):
    """A neighbour did not do what it was asked to."""

    pause: float = 0.0
    """Seconds for which it asked to be left alone."""

    def wanting(self, headers: Mapping[str, str]) -> Self:
        """The same, with the pause that an HTTP answer's Retry-After asks for in seconds. Dates are not understood."""
        wish = headers.get("Retry-After", "")
        self.pause = min(float(wish), LONGEST_WISH) if wish.isdecimal() else 0.0
        return self

    def again(self) -> Self:
        """A new one of the same."""
        error = type(self)(*self.args)
        error.pause = self.pause
        return error


class Unavailable(Obstacle):
    """A neighbour does not answer; waiting helps."""


class Outdated(Unavailable):
    """Somebody was faster: an object changed since it was read, or is there already. Look again, now."""


class Fenced(Unavailable):
    """This process may not write: another may lead by now."""


class NamespaceGoing(Unavailable):
    """The object's namespace is being deleted."""


class TrackingUnavailable(Unavailable):
    """MLflow does not answer."""


class MetricsUnavailable(Obstacle):
    """What was counted cannot be read. Nothing is concluded from that."""


class SinkUnavailable(Obstacle):
    """The receiver of events does not answer, or not for good. Nothing waits for it."""


class WriteRefused(Obstacle):
    """The API server understood a write and refused it; waiting alone does not help."""

    reason = "Refused"


class WebhookUnavailable(WriteRefused):
    """A webhook that the API server has to ask before it takes the object does not answer; waiting helps."""

    reason = "WebhookUnavailable"


class ChildConflict(WriteRefused):
    """An object of the wanted name exists and belongs to somebody else, or lost a label by which it is found."""

    reason = "ChildConflict"
