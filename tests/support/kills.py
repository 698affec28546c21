"""Lives in which the operator is killed at one write each, several at a time."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

from support.control_plane import ControlPlane
from support.keeper import INFERENCE_SERVICES
from support.life import ALIAS_PATH, Life, Picture, Zygote, a_life
from support.mlflow_server import MlflowServer
from support.proxy import Moment
from support.traffic import ROUTES

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
    rests: list[Picture]

    def difference(self, other: "Outcome") -> str:
        """What is not as in the other life; empty where nothing is."""
        left, right = (
            json.dumps([life.made, life.gone, life.rests], indent=1, sort_keys=True).splitlines()
            for life in (other, self)
        )
        lines = "\n".join(unified_diff(left, right, "undisturbed", "killed", n=3, lineterm=""))
        return f"killed at write {self.number}, {self.moment}:\n{lines}" if lines else ""


class Lives:
    """Lives of one story beside each other, on one API server and one MLflow."""

    def __init__(self, story: type[Life], plane: ControlPlane, mlflow: MlflowServer, folder: Path) -> None:
        self.story = story
        self._servers = plane, mlflow
        self._folder = folder

    async def undisturbed(self) -> Outcome:
        return (await self.killed([(0, None)], ()))[0]

    async def killed(self, kills: Iterable[tuple[int, Moment | None]], expected: Sequence[Picture]) -> list[Outcome]:
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
        expected: Sequence[Picture],
        number: int,
        moment: Moment | None,
    ) -> Outcome:
        name = f"life-{next(_lives)}"
        async with turns, a_life(self.story, *self._servers, zygote, name, self._folder) as life:
            if moment is not None:
                life.ledger.stop_at = (number, moment)
            life.expected = expected
            await life.live()
            made, gone = life.counts()
            killed = life.operator.starts > 1
            return Outcome(number, moment, killed, len(life.ledger.writes), made, gone, life.rests)


@contextmanager
def played_kinds(plane: ControlPlane) -> Iterator[None]:
    """The API server knows the kinds of KServe and of the Gateway API, whose controllers are played."""
    kinds = [INFERENCE_SERVICES, *ROUTES]
    names = [kind["metadata"]["name"] for kind in kinds]
    plane.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": kinds}))
    plane.kubectl("wait", "--for=condition=Established", "crd", *names, "--timeout=30s")
    yield
    plane.kubectl("delete", "crd", *names)


async def sweep(lives: Lives, moments: Callable[[int], Iterable[Moment]]) -> list[str]:
    """What comes out differently from an undisturbed life in those with a kill at each of its writes and moments."""
    began = time.monotonic()
    whole = await lives.undisturbed()
    wanted = [(number, moment) for number in range(1, whole.writes + 1) for moment in moments(number)]
    killed = await lives.killed(wanted, whole.rests)
    died, moves = sum(life.killed for life in killed), whole.made[ALIAS_PATH]
    print(  # noqa: T201 - the figures
        f"{lives.story.__name__}: {whole.writes} writes in a life ({whole.made.total() - moves} creations, "
        f"{whole.gone.total()} deletions, {moves} moves of MLflow's alias); "
        f"killed in {died} of {len(killed)} lives, {time.monotonic() - began:.0f} s"
    )
    assert died >= len(killed) * 0.9, "the last writes of a life are not always reached, the others are"
    return [text for life in killed if (text := life.difference(whole))]
