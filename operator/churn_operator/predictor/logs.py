"""JSON lines on standard output: one stream, one line each, nothing of what clients sent."""

import json
import logging
import logging.config
import warnings
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """One JSON object for each record; `extra={"fields": …}` adds keys."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def is_no_refusal(record: logging.LogRecord) -> bool:
    """The SDK writes a traceback, and with it what the client sent, for each request that it refuses."""
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__name__ not in {"InvalidInput", "ModelNotFound"}


def configure(level: str) -> None:
    """Replace the SDK's logging: its loggers keep warnings only, its line for each request is off."""
    # The SDK's own choice of response class; told once for each place, in the middle of the JSON lines.
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": JsonLines}},
            "filters": {"refusals": {"()": lambda: is_no_refusal}},
            "handlers": {
                "stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"},
                "sdk": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stdout",
                    "formatter": "json",
                    "filters": ["refusals"],
                },
            },
            "root": {"level": "WARNING", "handlers": ["stdout"]},
            "loggers": {
                "churn": {"level": level.upper()},
                "kserve": {"level": "WARNING", "handlers": ["sdk"], "propagate": False},
                "uvicorn.access": {"level": "WARNING", "handlers": [], "propagate": False},
            },
        }
    )
