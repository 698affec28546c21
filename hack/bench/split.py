"""10,000 requests over a canary of 0, 10, 50 and 100 %, and over one that is aborted: who answered how many.

python -m hack.bench.split [REQUESTS]   the least

That a challenger which never becomes ready is asked nothing is a bound of `failures`.
"""

import json
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pandas as pd
import yaml
from hack.bench.bounds import Bound, judged
from hack.bench.failures import host, rollout, state, wait
from hack.demo.kube import holds
from hack.demo.load import Load, Sample
from hack.demo.stage import GATEWAYS, SAMPLES, Stage, gateway, members

NAMESPACE = "churn-bench-split"
DATA = SAMPLES / "gym" / "gym.csv"
PER_SECOND = 100
SETTLED = 3.0
"""Seconds within which a Gateway has taken up a change of weights, and it was seen here."""
POINTS = 2
LEAST = 1000
"""Requests of a stretch: of fewer the split is no figure."""


@dataclass(frozen=True)
class Mark:
    """From this moment on the version is to have so many percent; None while that is about to change."""

    since: float
    version: str
    percent: int | None


@dataclass(frozen=True)
class Stretch:
    """The time from one mark to the next, without its ends."""

    version: str
    percent: int
    requests: int
    answered: int

    @property
    def share(self) -> float:
        """Of the answers, in percent."""
        return 100 * self.answered / self.requests if self.requests else float("nan")

    def __str__(self) -> str:
        return f"{self.version} at {self.percent} %"


def stretches(samples: Sequence[Sample], marks: Sequence[Mark]) -> list[Stretch]:
    found = []
    for mark, after in pairwise(marks):
        if mark.percent is not None:
            within = [s.version for s in samples if mark.since + SETTLED <= s.at <= after.since - SETTLED]
            found.append(Stretch(mark.version, mark.percent, len(within), within.count(mark.version)))
    return found


@dataclass
class Play:
    """Two challengers under load, and what was seen of them."""

    stage: Stage
    load: Load
    marks: list[Mark] = field(default_factory=list)

    def mark(self, version: str, percent: int | None) -> None:
        self.marks.append(Mark(time.monotonic(), version, percent))

    def promotion(self, version: str) -> None:
        self.mark(version, 0)
        self.requests()
        self.retrain(version)
        for step, percent in ((1, 10), (2, 50)):
            self.until_in(version, "Shifting", step)
            self.mark(version, percent)
        self.until_in(version, "Guarding")
        self.mark(version, 100)
        self.requests()
        self.mark(version, None)
        self.until_in(version, "Complete")

    def abort(self, version: str) -> None:
        self.mark(version, 0)
        self.requests()
        self.retrain(version)
        self.until_in(version, "Shifting", 1)
        self.mark(version, 10)
        self.requests()
        self.mark(version, None)
        self.order_abort()
        wait(self.stage, f"{version} RolledBack", lambda: state(self.stage, version) == "RolledBack")
        self.mark(version, 0)
        self.requests()
        self.mark(version, None)

    def until_in(self, version: str, phase: str, step: int | None = None) -> None:
        wanted = {"version": version, "phase": phase} | ({} if step is None else {"step": step})
        wait(self.stage, f"{version} in {phase} {step or ''}", lambda: wanted.items() <= rollout(self.stage).items())

    def requests(self) -> None:
        """So many that a stretch of them has enough without its ends."""
        enough = len(self.load.samples) + LEAST + 3 * SETTLED * PER_SECOND
        wait(self.stage, "enough requests", lambda: len(self.load.samples) >= enough)

    def retrain(self, version: str) -> None:
        run = {
            "apiVersion": "churnops.dev/v1alpha1",
            "kind": "TrainingRun",
            "metadata": {"name": f"gym-{version.removeprefix('v')}"},
            "spec": {
                "modelRef": {"name": "gym"},
                "reason": "a canary is wanted",
                "requestedBy": self.stage.kubectl.whoami(),
            },
        }
        self.stage.kubectl.apply(json.dumps(run))

    def order_abort(self) -> None:
        order = {
            "action": "Abort",
            "by": self.stage.kubectl.whoami(),
            "at": "2026-01-01T00:00:00Z",
            "reason": "to see",
        }
        patch = json.dumps({"status": {"command": order}})
        self.stage.kubectl.run("patch", "chm", "gym", "--subresource=status", "--type=merge", "--patch", patch)


def main(least: int) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        stage = Stage(namespace=NAMESPACE, scratch=Path(scratch), folder=f"{NAMESPACE}-{secrets.token_hex(2)}/")
        begin(stage)
        with Load(gateway("gym"), members(), per_second=PER_SECOND, host=host(stage)) as load:
            play = Play(stage, load)
            play.promotion("v2")
            table = pd.read_csv(DATA)
            stage.publish_table(table.iloc[: len(table) - 100], "gym.csv")
            play.abort("v3")
            wait(stage, f"{least} requests", lambda: len(load.samples) >= least)
    stage.kubectl.run("delete", "namespace", NAMESPACE)
    print(f"{load.summary()}, at {PER_SECOND} a second")
    found = stretches(load.samples, play.marks)
    for stretch in found:
        print(f"  {stretch}: {stretch.share:.2f} % of {stretch.requests} requests")
    return judged(
        Bound("requests", len(load.samples), least=least),
        Bound("requests that failed", len(load.failures), most=0),
        *(Bound(f"requests with {stretch}", stretch.requests, least=LEAST) for stretch in found),
        *(share(stretch) for stretch in found),
    )


def share(stretch: Stretch) -> Bound:
    """None at all while it is to have none: a challenger that is not ready is asked nothing."""
    points = POINTS if stretch.percent else 0
    return Bound(
        f"percent of the answers, {stretch}",
        stretch.share,
        least=stretch.percent - points,
        most=stretch.percent + points,
    )


def begin(stage: Stage, **otherwise: object) -> None:
    """A champion behind the Gateway; how its challengers are rolled out, where it is otherwise than here."""
    stage.publish_file(DATA, "gym.csv")
    model = yaml.safe_load(stage.sample("gym/churnmodel.yaml"))
    parent = {"name": "public", "namespace": GATEWAYS}
    model["spec"]["serving"] = {"gateway": {"parentRefs": [parent], "hostnames": [host(stage)]}}
    model["spec"]["rollout"] = {
        "strategy": "Canary",
        "steps": [{"weight": 10, "pause": "35s"}, {"weight": 50, "pause": "30s"}],
        "guard": "60s",
    } | otherwise
    stage.kubectl.apply(yaml.safe_dump(model))
    wait(stage, "champion v1", lambda: holds(stage.kubectl.get("churnmodels", "gym"), "Ready"))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
