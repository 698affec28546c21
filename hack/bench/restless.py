"""The story twice: undisturbed, and with the operator killed at 20 random moments; what came out of each.

It is the one that leads which is killed, each time: by SIGKILL, so that it gives back no Lease.

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
from hack.bench.failures import install
from hack.bench.writes import AuditLog
from hack.demo.kube import Kubectl
from hack.demo.processes import kill_operator
from hack.demo.stage import Stage
from hack.demo.story import Demo

KILLS = 20
PAUSE = (1.0, 8.0)
"""Seconds from one's leading to its end, the least and the most."""
LEASE_SECONDS = 5
"""As few as the chart takes: nobody leads for so long after a kill, and the story is to be disturbed, not stopped."""
LOOK_EVERY = 0.5
LASTING = ("churnmodels", "trainingruns", "driftmonitors", "inferenceservices", "services")


def main(seed: int) -> int:
    done = Counter[str]()
    install(f"--set=leaseSeconds={LEASE_SECONDS}")
    try:
        whole = play("churn-bench-whole", nullcontext())
        restless = play("churn-bench-restless", kills(seed, done))
    finally:
        install()
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
        killed = ""
        while done["kills"] < KILLS and successor(operator, killed, over) and not over.wait(chance.uniform(*PAUSE)):
            if killed := leader(operator):
                done["SIGKILL" if kill_operator(killed.rpartition("_")[0]) else "deletion"] += 1
                done["kills"] += 1

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        print(f"the operator was killed {done['kills']} times, seed {seed}: {done['SIGKILL']} by SIGKILL, ", end="")
        print(f"{done['deletion']} by its pod's deletion alone, as its process was not found on this machine")


def leader(operator: Kubectl) -> str:
    """Whom the Lease names, as pod_process; nobody where it was given back."""
    return operator.run("get", "lease", "churn-operator", "--output=jsonpath={.spec.holderIdentity}")


def successor(operator: Kubectl, killed: str, over: threading.Event) -> bool:
    """Wait until another leads than the one that was killed; whether that was before the story was over."""
    while not over.wait(LOOK_EVERY):
        if leader(operator) not in {"", killed}:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(1000)))
