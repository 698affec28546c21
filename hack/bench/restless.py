"""The story twice: undisturbed, and with the operator killed at 20 random moments; what came out of each.

python -m hack.bench.restless [SEED]
"""

import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from hack.bench.bounds import Bound, judged
from hack.bench.writes import AuditLog
from hack.demo.kube import Kubectl
from hack.demo.stage import Stage
from hack.demo.story import Demo

KILLS = 20
PAUSE = (1.0, 12.0)
"""Seconds between two kills, the least and the most."""
LASTING = ("churnmodels", "trainingruns", "driftmonitors", "inferenceservices", "services")
OPERATOR = "app.kubernetes.io/name=churn-operator"


def main(seed: int) -> int:
    done = Counter[str]()
    whole = play("churn-bench-whole", nullcontext())
    restless = play("churn-bench-restless", kills(seed, done))
    same = whole == restless
    print(f"seed {seed}: made, deleted and left {'are the same' if same else 'differ'}")
    for name, quiet, loud in zip(("made", "deleted", "left"), whole, restless, strict=True):
        print(f"  {name}: {quiet.total()} and {loud.total()}", *sorted((quiet - loud) + (loud - quiet)))
    return judged(
        Bound("counters that differ", sum(quiet != loud for quiet, loud in zip(whole, restless, strict=True)), most=0),
        Bound("kills", done["kills"], least=KILLS),
    )


def play(namespace: str, meanwhile: AbstractContextManager[None]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """What the operator made, deleted and left; checks, which repeat by the clock, are not counted."""
    with tempfile.TemporaryDirectory() as scratch:
        stage = Stage(namespace=namespace, scratch=Path(scratch), folder=f"{namespace}/")
        demo, log = Demo(stage), AuditLog()
        with meanwhile:
            demo.first_model()
            alarm = demo.world_changes()
            demo.challenger(alarm)
            demo.poison()
    writes = [w for w in log.writes() if w.namespace == namespace and not _is_check(w.name)]
    made = Counter(f"{w.resource} {w.name}" for w in writes if w.code == 201)
    gone = Counter(f"{w.resource} {w.name}" for w in writes if w.verb == "delete" and w.code < 300)
    left = Counter(
        f"{plural} {found['metadata']['name']} {found.get('status', {}).get('phase', '')}"
        for plural in LASTING
        for found in stage.kubectl.list(plural)
    )
    stage.kubectl.run("delete", "namespace", namespace, "--wait=false")
    return made, gone, left


def _is_check(name: str) -> bool:
    return "-drift-" in name or "-probe-" in name


@contextmanager
def kills(seed: int, done: Counter[str]) -> Iterator[None]:
    """Kills the operator, and counts it, until there were enough or the story is over."""
    chance, over = random.Random(seed), threading.Event()  # noqa: S311 - moments, no secrets
    operator = Kubectl("churn-system")

    def kill() -> None:
        while done["kills"] < KILLS and not over.wait(chance.uniform(*PAUSE)):
            operator.run("delete", "pod", f"--selector={OPERATOR}", "--grace-period=0", "--force", "--wait=false")
            done["kills"] += 1

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        print(f"the operator was killed {done['kills']} times, seed {seed}")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(1000)))
