"""Growing pauses between attempts that fail."""

import random

FIRST = 1.0
LONGEST = 60.0


class Pauses:
    """1, 2, 4 … 60 seconds, each up to a fifth shorter: replicas do not come back at once."""

    def __init__(self) -> None:
        self._next = FIRST

    def after_failure(self) -> float:
        pause, self._next = self._next, min(2 * self._next, LONGEST)
        return pause * random.uniform(0.8, 1)  # noqa: S311 - no secret hangs on it

    def after_success(self) -> None:
        self._next = FIRST
