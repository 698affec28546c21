"""Serves as the predictor does, with the fault that the version's number stands for: v2 has the first."""

import asyncio
import json
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from prometheus_client import generate_latest
from starlette.responses import Response

from churn_operator.predictor import __main__ as predictor
from churn_operator.predictor import routes
from churn_operator.predictor.edge import Route
from churn_operator.predictor.model import caller_of

FIRST = 2
WELL = 60
"""Requests of clients that are answered well by what fails later."""
RUSH, RUSH_SECONDS = 105, 5.0
"""So many clients within so many seconds are more than the first step of the bench sends, and fewer than its second."""

Answer = Callable[[], Awaitable[Response]]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with which requests."""

    name: str
    befalls: Callable[[int, bool], bool] = lambda *_: False
    """Of the number of clients' requests so far, and whether this one is the operator's."""
    happens: Callable[[Answer], Awaitable[Response]] | None = None
    at_start: Callable[[], object] = lambda: None
    step: int = 1
    """The step of the rollout that it serves well up to, where it serves at all."""


def always(_number: int, _probe: bool) -> bool:  # noqa: FBT001 - as Fault calls it
    return True


def later(number: int, _probe: bool) -> bool:  # noqa: FBT001 - as Fault calls it
    return number > WELL


class Rush:
    """Clients come faster than a first step sends them; by their number it would depend on how long that step lasts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = deque[float](maxlen=RUSH)

    def __call__(self, _number: int, probe: bool) -> bool:  # noqa: FBT001 - as Fault calls it
        if not probe:
            self._last.append(self._clock())
        return len(self._last) == RUSH and self._last[-1] - self._last[0] < RUSH_SECONDS


def each(nth: int) -> Callable[[int, bool], bool]:
    return lambda number, probe: not probe and number % nth == 0


def saying(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Answer], Awaitable[Response]]:
    async def happens(answer: Answer) -> Response:
        said = json.loads(bytes((await answer()).body))
        return Response(json.dumps({"predictions": [change(one) for one in said["predictions"]]}))

    return happens


async def fails(_: Answer) -> Response:
    raise RuntimeError("one in ten fails")


async def waits(answer: Answer) -> Response:
    await asyncio.sleep(0.3)
    return await answer()


async def crashes(_: Answer) -> Response:
    os._exit(1)


async def hangs(answer: Answer) -> Response:
    await asyncio.sleep(3600)
    return await answer()


async def blocks(answer: Answer) -> Response:
    """Nothing of the process goes on, not even what the kubelet asks for."""
    time.sleep(3600)  # noqa: ASYNC251 - that is the fault
    return await answer()


async def fills_memory(answer: Answer) -> Response:
    HELD.extend(bytearray(b"x" * (64 << 20)) for _ in range(64))
    return await answer()


async def falls_mute(answer: Answer) -> Response:
    MUTE.set()
    return await answer()


def with_metrics_that_fall_mute() -> None:
    """Until then /metrics is answered as the SDK does."""
    well = routes.routes

    async def metrics(_body: bytes, _headers: Mapping[str, str]) -> Response:
        return Response(status_code=503) if MUTE.is_set() else Response(generate_latest())

    routes.routes = lambda *given: well(*given) | {"/metrics": Route(routes.GET, handler=metrics)}


MUTE = asyncio.Event()
HELD: list[bytearray] = []
wrong = saying(lambda one: one | {"probability": 1 - one["probability"]})
nan = saying(lambda one: one | {"probability": float("nan")})

FAULTS: tuple[Fault, ...] = (
    Fault("ends at its start", at_start=lambda: sys.exit(1)),
    Fault("never gets ready", at_start=lambda: time.sleep(3600)),
    Fault("answers wrongly", always, wrong),
    Fault("answers NaN", always, nan),
    Fault("answers another schema", always, saying(lambda one: {"score": one["probability"]})),
    Fault("fails one request in ten", each(10), fails),
    Fault("is slow one time in five", each(5), waits),
    Fault("crashes with traffic", later, crashes),
    Fault("takes too much memory with traffic", later, fills_memory),
    Fault("hangs with traffic", later, hangs),
    Fault("blocks with traffic", later, blocks),
    Fault("answers NaN with traffic", later, nan),
    Fault("answers wrongly with traffic", later, wrong),
    Fault("crashes with the traffic of the second step", Rush(), crashes, step=2),
)
MUTED = Fault("tells nothing of itself with traffic", later, falls_mute, with_metrics_that_fall_mute)
"""The last: no fault of what is served, and nothing that anybody could conclude from."""


def main() -> int:
    version = next(a.removeprefix("--version=v") for a in sys.argv if a.startswith("--version=v"))
    faults, position = (*FAULTS, MUTED), int(version) - FIRST
    if 0 <= position < len(faults):
        faults[position].at_start()
        install(faults[position])
    return predictor.main()


def install(fault: Fault) -> None:
    well, numbers, happens = routes._Own.predict_v1, count(1), fault.happens  # noqa: SLF001 - what is put in its place
    latest = 0

    async def predict(self: Any, body: bytes, headers: Mapping[str, str]) -> Response:
        nonlocal latest
        probe = caller_of(headers) == "probe"
        latest = latest if probe else next(numbers)

        async def answer() -> Response:
            return await well(self, body, headers)

        return await (happens(answer) if happens and fault.befalls(latest, probe) else answer())

    routes._Own.predict_v1 = predict  # type: ignore[method-assign]  # noqa: SLF001 - as above


if __name__ == "__main__":
    sys.exit(main())
