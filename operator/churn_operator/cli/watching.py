"""A model that is drawn again whenever something about it changes."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import typer

from churn_operator.api.churnmodel import ChurnModel
from churn_operator.api.driftmonitor import DriftMonitor
from churn_operator.api.trainingrun import TrainingRun
from churn_operator.cli.app import Session, console
from churn_operator.cli.failure import Absent, Failure
from churn_operator.cli.summary import Object, Summary, summarise
from churn_operator.cli.tree import line, tree

KINDS = (ChurnModel, TrainingRun, DriftMonitor)


class Watched:
    """A model that is drawn again at each change of it, its runs or its monitors."""

    def __init__(self, session: Session, name: str, runs: int) -> None:
        self._session, self._name, self._runs = session, name, runs
        self._seen: dict[str, Mapping[str, Object]] = {}
        self._drawn: Summary | None = None

    async def follow(self) -> None:
        selections = (
            (ChurnModel, f"metadata.name={self._name}"),
            (TrainingRun, f"spec.modelRef.name={self._name}"),
            (DriftMonitor, f"spec.modelRef.name={self._name}"),
        )
        try:
            async with asyncio.TaskGroup() as group:
                for kind, fields in selections:
                    group.create_task(self._look(kind, fields))
        except ExceptionGroup as several:
            failure = next((error for error in several.exceptions if isinstance(error, Failure)), None)
            if failure is None:
                raise
            raise failure from None

    async def _look(self, kind: Any, fields: str) -> None:
        async for found in self._session.cluster.changes(kind, fields):
            self._seen[kind.kind] = found
            if len(self._seen) == len(KINDS):
                self._draw()

    def _draw(self) -> None:
        models, runs, monitors = (list(self._seen[k.kind].values()) for k in KINDS)
        if not models:
            raise Absent(f"ChurnModel {self._name} was deleted.")
        summary = summarise(models[0], runs, monitors, self._runs)
        if summary == self._drawn:
            return
        self._drawn, now = summary, datetime.now(UTC)
        if self._session.json:
            typer.echo(json.dumps(summary.to_dict(), ensure_ascii=False))
            return
        screen = console()
        screen.clear()
        screen.print(line(f"At {now:%H:%M:%S} UTC; ctrl-c ends the watch."), tree(summary, now), sep="\n")
