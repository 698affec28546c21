"""What a log message is about: bound once around a look, told with every message inside it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from churn_operator.api.logs import JsonLines, time_of
from churn_operator.core.objects import Key, Object

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
_NAMED = {"ChurnModel": "model", "TrainingRun": "run"}
"""What a kind's name is called in the lines about others."""


@contextmanager
def about(key: Key) -> Iterator[None]:
    """Messages inside are about this object."""
    said = {"kind": key.kind, "namespace": key.namespace, "name": key.name}
    token = _about.set(said | ({_NAMED[key.kind]: key.name} if key.kind in _NAMED else {}))
    try:
        yield
    finally:
        _about.reset(token)


def know(obj: Object) -> None:
    """From here on model and version that the object speaks of are told, too; a model speaks of its champion."""
    status = obj.get("status", {})
    model = obj.get("spec", {}).get("modelRef", {}).get("name")
    version = status.get("version") or status.get("summary", {}).get("champion")
    found = {"model": model, "version": version}
    _about.set({**_about.get(), **{name: str(value) for name, value in found.items() if value}})


class TextLines(logging.Formatter):
    """One line for each message, for people."""

    def format(self, record: logging.LogRecord) -> str:
        told = _about.get()
        what = " ".join((told["kind"], f"{told['namespace']}/{told['name']}: ")) if told else ""
        error = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return f"{time_of(record)} {record.levelname} {what}{record.getMessage()}{error}"


def configure(form: str) -> None:
    """Log to stderr, as `json` or `text`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(_about.get) if form == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # it tells of every event
    # It warns of what is meant: KServe that may come later, and rights in the watched namespaces only.
    logging.getLogger("kopf._core.reactor.observation").setLevel(logging.ERROR)
