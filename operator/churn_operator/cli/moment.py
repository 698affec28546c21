"""Time as text. Nothing here reads a clock: `now` is always an argument."""

from datetime import UTC, datetime, timedelta

UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def stamp(now: datetime) -> str:
    """RFC 3339, UTC, whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str) -> datetime:
    """The instant that an RFC 3339 text names."""
    return datetime.fromisoformat(text)


def after(last: str | None, now: datetime) -> str:
    """The stamp of now, or where that is not later than `last`, of a second after it: no two orders share a time."""
    earliest = now if last is None else max(now, parse(last) + timedelta(seconds=1))
    return stamp(earliest)


def span(length: timedelta) -> str:
    """A length of time in its largest unit, as kubectl prints ages."""
    seconds = max(int(length.total_seconds()), 0)
    return next((f"{seconds // size}{unit}" for size, unit in UNITS if seconds >= 2 * size), f"{seconds}s")


def since(text: str, now: datetime) -> str:
    """The instant, and how long ago it was."""
    return f"since {text} ({span(now - parse(text))})"


def until(text: str, now: datetime) -> str:
    """The instant, and how far away it is."""
    left = parse(text) - now
    return f"until {text} ({span(left)} left)" if left > timedelta(0) else f"until {text} (over)"
