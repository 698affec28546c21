"""JSON lines on standard output: one stream, one line each, nothing of what clients sent but their request's id."""

import logging
import logging.config
import os
import re
import warnings
from contextvars import ContextVar

from churn_operator.api.logs import JsonLines

REQUEST_ID = "x-request-id"
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that is being answered."""
_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def take_request_id(given: str | None) -> str:
    """The client's id for its request where it is fit for a log and a header, else a new one."""
    taken = given if given is not None and _SANE.fullmatch(given) else os.urandom(16).hex()
    request_id.set(taken)
    return taken


def is_untold(record: logging.LogRecord) -> bool:
    """Our own line tells of each request: for one refused the SDK would write what the client sent, too."""
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__name__ not in {"InvalidInput", "ModelNotFound", "CancelledError"}


def configure(level: str, **always: str) -> None:
    """Replace the SDK's logging: its loggers keep warnings only, its line for each request is off.

    `always` is what each line says beside its own.
    """
    logging.captureWarnings(capture=True)
    # The SDK's own choice of response class; told once for each place, in the middle of the JSON lines.
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")
    # What gRPC leaves to the garbage collector when the process ends, after a farewell that was awaited.
    warnings.filterwarnings("ignore", message="coroutine 'AioServer.shutdown' was never awaited")

    def about() -> dict[str, str]:
        return always | ({"request_id": request_id.get()} if request_id.get() else {})

    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": JsonLines, "about": about}},
            "filters": {"untold": {"()": lambda: is_untold}},
            "handlers": {
                "stdout": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stdout",
                    "formatter": "json",
                    "filters": ["untold"],
                },
            },
            "root": {"level": "WARNING", "handlers": ["stdout"]},
            "loggers": {
                "churn": {"level": level.upper()},
                "kserve": {"level": "WARNING", "handlers": [], "propagate": True},
                "uvicorn.access": {"level": "WARNING", "handlers": [], "propagate": False},
            },
        }
    )
