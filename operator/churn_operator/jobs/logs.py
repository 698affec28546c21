"""JSON lines on standard error, which say whose Job it is."""

import sys

from churn_operator.api import logs
from churn_operator.api.base import Model
from churn_operator.api.tasks import DriftTask, LabelsTask, ShadowTask, TrainTask

_about: dict[str, str] = {}
"""A process has one task, and libraries log from threads of their own, too."""


def configure() -> None:
    logs.configure(sys.stderr, lambda: _about)


def know(task: Model) -> None:
    """From here on every line says whose task it is."""
    _about.clear()
    _about.update(_whose(task))


def _whose(task: Model) -> dict[str, str]:
    """A probe and a fetch are given an address only."""
    match task:
        case TrainTask():
            return {"namespace": task.namespace, "model": task.model, "run": task.run}
        case DriftTask() | ShadowTask():
            return {"namespace": task.namespace, "model": task.churn_model, "version": task.version}
        case LabelsTask():
            return {"namespace": task.namespace, "model": task.churn_model, "version": task.challenger.version}
        case _:
            return {}
