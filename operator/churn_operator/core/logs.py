"""What a log message is about: bound once around a look, told with every message inside it."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

from churn_operator.core.objects import Key, Object

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def about(key: Key) -> Iterator[None]:
    """Messages inside are about this object."""
    said = {"kind": key.kind, "namespace": key.namespace, "name": key.name}
    token = _about.set(said | ({"run": key.name} if key.kind == "TrainingRun" else {}))
    try:
        yield
    finally:
        _about.reset(token)


def know_version(obj: Object) -> None:
    """From here on the version that the object speaks of is told, too; a model speaks of its champion."""
    status = obj.get("status", {})
    version = status.get("version") or status.get("summary", {}).get("champion")
    if version:
        _about.set({**_about.get(), "version": str(version)})


class _About(logging.Filter):
    """Takes what a record is about from the look that it comes from."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.about = _about.get()
        return True


class JsonLines(logging.Formatter):
    """One JSON object for each message."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(said)


class TextLines(logging.Formatter):
    """One line for each message, for people."""

    def format(self, record: logging.LogRecord) -> str:
        told = getattr(record, "about", {})
        what = " ".join((told["kind"], f"{told['namespace']}/{told['name']}: ")) if told else ""
        error = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return f"{time} {record.levelname} {what}{record.getMessage()}{error}"


def configure(form: str) -> None:
    """Log to stderr, as `json` or `text`."""
    handler = logging.StreamHandler()
    handler.addFilter(_About())
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # it tells of every event
    # It warns of what is meant: KServe that may come later, and rights in the watched namespaces only.
    logging.getLogger("kopf._core.reactor.observation").setLevel(logging.ERROR)
