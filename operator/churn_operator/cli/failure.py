"""Why a command ends without having done what it was asked: one sentence, and an exit code."""

from enum import IntEnum


class Code(IntEnum):
    """Exit codes. They are API."""

    No = 1
    """The answer is no, or it did not come in time."""
    Usage = 2
    """What was asked for is not there, or was not understood."""
    Forbidden = 3
    """The cluster does not let this user."""
    Unreachable = 4
    """No cluster answers."""


class Failure(Exception):
    """The sentence is for whoever typed the command."""

    def __init__(self, message: str, code: Code = Code.No) -> None:
        super().__init__(message)
        self.code = code


class Conflict(Failure):
    """Somebody else was faster."""


class Absent(Failure):
    """No such object."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Code.Usage)
