"""Plays the demonstration's story, and counts what the operator wrote and how long things took.

python -m hack.bench.story
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hack.bench.bounds import Bound, judged
from hack.bench.writes import OURS, AuditLog, Write, changes, table
from hack.demo.stage import Stage
from hack.demo.story import Demo

NAMESPACE = "churn-bench"
SECONDS = {
    "the last of today's customers asked to the alarm": 30,
    "alarm to the new champion serving": 120,
}
"""Bounds of the story's figures. That no request fails it sees to itself: one that does ends it."""


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        stage = Stage(namespace=NAMESPACE, scratch=Path(scratch), folder=f"{NAMESPACE}/")
        demo, log = Demo(stage), AuditLog()
        with changes(NAMESPACE) as seen:
            demo.first_model()
            alarm = demo.world_changes()
            demo.challenger(alarm)
            demo.poison()
        writes = [write for write in log.writes() if write.namespace == NAMESPACE]
    print("\nTimes over the story")
    for what, seconds in demo.tell.figures:
        print(f"  {seconds:6.1f} s  {what}")
    print_writes(writes, seen)
    stage.kubectl.run("delete", "namespace", NAMESPACE)
    return judged(*bounds_of(demo.tell.figures))


def bounds_of(figures: Sequence[tuple[str, float]]) -> list[Bound]:
    """A figure that the story does not have is past its bound."""
    measured = dict(figures)
    return [Bound(f"seconds, {what}", measured.get(what, float("nan")), most=most) for what, most in SECONDS.items()]


def print_writes(writes: list[Write], seen: Counter[str]) -> None:
    print(f"\nThe operator's {len(writes)} writes over the story, by the API server's audit log")
    for resource, name, verb, count in table(writes):
        print(f"  {count:4d}  {verb:7s} {resource:28s} {name}")
    refused = [write for write in writes if write.code >= 400]
    print(f"  {len(refused):4d}  of them refused: {Counter((write.resource, write.code) for write in refused)}")
    accepted = [write for write in writes if write.code < 400 and write.resource.partition("/")[0] in OURS]
    written = Counter(write.object for write in accepted)
    print("\nStatus and spec writes beside the changes that a watch saw (what a person changed included)")
    for name in sorted(written):
        print(f"  {written[name]:4d} written, {seen[name]:4d} changed  {name}")


if __name__ == "__main__":
    sys.exit(main())
