"""What a line of a log is, whichever image wrote it."""

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TextIO


class JsonLines(logging.Formatter):
    """One JSON object for each record: what `about` says while it is logged, and what `extra={"fields": …}` adds."""

    def __init__(self, about: Callable[[], Mapping[str, str]] = dict) -> None:
        super().__init__()
        self._about = about

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._about(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(stream: TextIO, about: Callable[[], Mapping[str, str]] = dict) -> None:
    """Our own messages, and of libraries what they warn of."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(about))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("churn_operator").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
