"""Lives in which the operator is killed at one write each, several at a time."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any

from support.control_plane import ControlPlane
from support.life import Zygote, a_life
from support.mlflow_server import MlflowServer
from support.proxy import Moment

AT_ONCE = 8
_lives = itertools.count(1)


@dataclass(frozen=True)
class Outcome:
    """What one life came to."""

    number: int
    moment: Moment | None
    killed: bool
    writes: int
    made: Counter[str]
    gone: Counter[str]
    settled: list[Any]

    def difference(self, other: "Outcome") -> str:
        """What is not as in the other life; empty where nothing is."""
        left, right = (
            json.dumps([life.made, life.gone, life.settled], indent=1, sort_keys=True).splitlines()
            for life in (other, self)
        )
        lines = "\n".join(unified_diff(left, right, "undisturbed", "killed", n=3, lineterm=""))
        return f"killed at write {self.number}, {self.moment}:\n{lines}" if lines else ""


class Lives:
    """Lives beside each other on one API server and one MLflow."""

    def __init__(self, plane: ControlPlane, mlflow: MlflowServer, folder: Path) -> None:
        self._servers = plane, mlflow
        self._folder = folder

    async def undisturbed(self) -> Outcome:
        return (await self.killed([(0, None)], None))[0]

    async def killed(self, kills: Iterable[tuple[int, Moment | None]], expected: list[Any] | None) -> list[Outcome]:
        """A life for each kill."""
        zygote = await Zygote().start()
        turns = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                lives = [group.create_task(self._live(zygote, turns, expected, *kill)) for kill in kills]
        finally:
            await zygote.stop()
        return [life.result() for life in lives]

    async def _live(
        self,
        zygote: Zygote,
        turns: asyncio.Semaphore,
        expected: list[Any] | None,
        number: int,
        moment: Moment | None,
    ) -> Outcome:
        name = f"life-{next(_lives)}"
        async with turns, a_life(*self._servers, zygote, name, self._folder) as life:
            if moment is not None:
                life.ledger.stop_at = (number, moment)
            settled = await life.live(expected)
            made, gone = life.counts()
            killed = life.operator.starts > 1
            return Outcome(number, moment, killed, len(life.ledger.writes), made, gone, settled)


async def sweep(lives: Lives, moments: Callable[[int], Iterable[Moment]]) -> list[str]:
    """What comes out differently from an undisturbed life in those with a kill at each of its writes and moments."""
    began = time.monotonic()
    whole = await lives.undisturbed()
    wanted = [(number, moment) for number in range(1, whole.writes + 1) for moment in moments(number)]
    killed = await lives.killed(wanted, whole.settled)
    died = sum(life.killed for life in killed)
    print(  # noqa: T201 - the figures
        f"{whole.writes} writes in a life ({whole.made.total()} creations, {whole.gone.total()} deletions); "
        f"killed in {died} of {len(killed)} lives, {time.monotonic() - began:.0f} s"
    )
    assert died >= len(killed) * 0.9, "the last writes of a life are not always reached, the others are"
    return [text for life in killed if (text := life.difference(whole))]
