"""Why a Job gives up. The class says whether another attempt can help."""

from collections.abc import Iterator
from contextlib import contextmanager

from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import EXIT_REFUSED, EXIT_UNAVAILABLE, JobFailure

MESSAGE_LIMIT = 1024


class JobError(Exception):
    """The Job ends with this reason and message; raise `Refused` or `Unavailable`."""

    exit_code: int

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.revision: str | None = None

    def to_failure(self) -> JobFailure:
        return JobFailure(reason=self.reason, message=shorten(self.message), revision=self.revision)


class Refused(JobError):
    """The input is at fault."""

    exit_code = EXIT_REFUSED


class Unavailable(JobError):
    """A neighbour is away."""

    exit_code = EXIT_UNAVAILABLE


@contextmanager
def blamed_on(revision: str) -> Iterator[None]:
    """Whatever goes wrong in here is that state's fault: the operator does not try it again."""
    try:
        yield
    except JobError as error:
        error.revision = revision
        raise


def shorten(text: str) -> str:
    """The text, cut to what a JobFailure holds."""
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"
