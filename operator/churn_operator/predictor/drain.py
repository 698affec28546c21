"""How the server leaves without failing a request."""

import asyncio
import signal
import time
from types import FrameType


class Drain:
    """On SIGTERM the server answers on for `seconds`, so that clients move to other pods before the sockets close.

    Then it finishes what is in flight. A second SIGTERM cuts the wait short.
    """

    def __init__(self, seconds: float) -> None:
        self.since: float | None = None
        """When it began, on the monotonic clock."""
        self.cut_short = False
        self._seconds = seconds

    @property
    def under_way(self) -> bool:
        return self.since is not None

    def begin_on_sigterm(self) -> None:
        """Stand before the handler that uvicorn has installed by now; off the main thread there is none."""
        stop = signal.getsignal(signal.SIGTERM)
        if not callable(stop):
            return
        loop = asyncio.get_running_loop()

        def begin(number: int, frame: FrameType | None) -> None:
            if self.under_way:
                self.cut_short = True
                stop(number, frame)
                return
            self.since = time.monotonic()
            loop.call_soon_threadsafe(loop.call_later, self._seconds, stop, number, None)

        signal.signal(signal.SIGTERM, begin)
