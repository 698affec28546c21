"""What time it is: the object store's clock counts, which all replicas share, so that one that jumps harms nothing."""

from datetime import UTC, datetime, timedelta

TOLERANCE = timedelta(seconds=5)
"""A difference that a slow answer may make."""


class StoreClock:
    """This machine's clock, put right by what the object store last said."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def hear(self, said: datetime) -> None:
        """The store has just said what time it is."""
        difference = said - datetime.now(UTC)
        self._ahead = difference if abs(difference) > TOLERANCE else timedelta()
