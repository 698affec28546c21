"""Time as text. Nothing here reads a clock: `now` is always an argument."""

from datetime import UTC, datetime


def stamp(now: datetime) -> str:
    """RFC 3339, UTC, whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str) -> datetime:
    """The instant that an RFC 3339 text names."""
    return datetime.fromisoformat(text)
