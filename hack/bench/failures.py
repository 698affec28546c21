"""A challenger in each way it can fail, the operator killed meanwhile: how long until the champion has all traffic.

The operator dies by SIGKILL as the challenger answers its first request, or gets to the second step where it fails in
that one, or while it starts where it never gets a request.

python -m hack.bench.failures [LAST]   the number of the last fault

Then one whose metrics fall mute for the time of three steps: is it promoted, or given up?
"""

import json
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from hack.bench.bounds import Bound, judged
from hack.bench.faults import FAULTS, FIRST, Fault, always
from hack.demo.kube import Kubectl, Object, holds, wait_until
from hack.demo.load import Load, Sample
from hack.demo.processes import kill_operator
from hack.demo.stage import GATEWAYS, REPOSITORY, SAMPLES, Stage, gateway, members

NAMESPACE = "churn-bench-failures"
CHAMPION = "v1"
PER_SECOND = 60
BOUND = 10.0
STEP_SECONDS = 30
WEIGHTS = (20, 50)
MUTE_SECONDS = 90.0
PATIENCE = 240.0
STILL = "RollingOut, step 1, Error"
"""State, step and verdict of a challenger that is neither promoted nor given up: there is nothing to judge it by."""
OTHER_SCHEMA = "KeyError('version')"
"""An answer without what each has: the Gateway takes it for a good one, and no other than the fault's gives it."""
AROUND = 0.25
"""Seconds before and after a request that the Gateway had nobody to give to. Where the champion answered in both, it is
the challenger that had no pod."""
SERVER = re.compile(rf"{NAMESPACE}-gym-(v\d+)-predictor-")


@dataclass(frozen=True)
class Outcome:
    """Of one fault."""

    name: str
    why: str
    back: float
    """Seconds from the verdict to the last answer of the challenger."""
    failed: int
    others: int
    """Failed requests that were not the challenger's, by the Gateway's log."""
    unasked: int
    """Answers of a challenger that never became ready."""
    early: int
    """Failed requests from before the step that the challenger was to serve well up to."""
    killed: bool
    """Whether the operator died by SIGKILL; else its pods were deleted, as its processes are not on this machine."""


def main() -> int:
    last = int(sys.argv[1]) if len(sys.argv) > 1 else len(FAULTS)
    stage = Stage(namespace=NAMESPACE, scratch=Path(tempfile.mkdtemp()), folder=f"{NAMESPACE}-{secrets.token_hex(2)}/")
    begin(stage)
    outcomes = []
    for number in range(1, last + 1):
        outcomes.append(play(stage, number))
        print(line(outcomes[-1]), flush=True)
    good = [o for o in outcomes if o.back <= BOUND]
    print(f"{len(good)} of {len(outcomes)} back within {BOUND:g} s")
    muted = play_mute(stage, len(FAULTS) + 1) if last == len(FAULTS) else []
    print(f"no metrics for {MUTE_SECONDS:g} s of a step of {STEP_SECONDS} s: {muted or 'not tried'}")
    return judged(
        Bound("challengers that kept traffic for too long", len(outcomes) - len(good), most=0),
        Bound("failed requests that were not the challenger's", sum(o.others for o in outcomes), most=0),
        Bound("failed requests before the step that a challenger fails in", sum(o.early for o in outcomes), most=0),
        Bound("answers of challengers that never became ready", sum(o.unasked for o in outcomes), most=0),
        Bound("other states while nothing could be read", len(others(muted)), most=0),
    )


def line(outcome: Outcome) -> str:
    failed = f"{outcome.failed} failed, {outcome.others} of them not its own; {outcome.unasked} unasked answers"
    failed += "" if outcome.killed else "; the operator's pods were deleted and not killed: they run elsewhere"
    return f"  {outcome.back:5.1f} s  {outcome.name}: {outcome.why} ({failed})"


def begin(stage: Stage) -> None:
    """A champion, and from then on predictors with faults."""
    stage.publish_file(SAMPLES / "gym" / "gym.csv", "gym.csv")
    model = yaml.safe_load(stage.sample("gym/churnmodel.yaml"))
    parent = {"name": "public", "namespace": GATEWAYS}
    model["spec"]["serving"] = {"gateway": {"parentRefs": [parent], "hostnames": [host(stage)]}}
    model["spec"]["rollout"] = {
        "strategy": "Canary",
        "steps": [{"weight": weight, "pause": f"{STEP_SECONDS}s"} for weight in WEIGHTS],
        "guard": "30s",
        "progressDeadline": "25s",
    }
    stage.kubectl.apply(yaml.safe_dump(model))
    wait(stage, f"champion {CHAMPION}", lambda: holds(stage.kubectl.get("churnmodels", "gym"), "Ready"))
    install("--set=images.predictor.repository=localhost/churn-operator/faulty")


def install(*flags: str) -> None:
    subprocess.run([REPOSITORY / "hack/install", "--values=hack/demo/values.yaml", *flags], check=True, cwd=REPOSITORY)


def host(stage: Stage) -> str:
    return f"gym.{stage.namespace}.example.com"


def wait(stage: Stage, what: str, look: object) -> object:
    return wait_until(what, look, seconds=PATIENCE, diagnose=stage.kubectl.diagnose)  # type: ignore[arg-type] # any look


def play(stage: Stage, number: int) -> Outcome:
    version, fault = challenge(stage, number), FAULTS[number - 1]
    with Load(gateway("gym"), members(), per_second=PER_SECOND, host=host(stage)) as load:
        reached = wait_until_it_matters(stage, version, fault, load)
        killed = kill_operator()
        wait(stage, f"{version} given up", lambda: state(stage, version) == "RolledBack")
        verdict = time.monotonic()
        time.sleep(BOUND + 2)
    answers = [sample.at for sample in load.samples if sample.version == version]
    given = given_to(Kubectl(GATEWAYS).run("logs", "deployment/traefik", "--since=15m"))
    champions = [sample.at for sample in load.samples if sample.version == CHAMPION]
    after = [at for at in answers + [sample.at for sample in load.failures] if at > verdict]
    return Outcome(
        name=fault.name,
        why=next(v for v in versions(stage) if v["version"] == version)["reason"][:110],
        back=max(after, default=verdict) - verdict,
        failed=len(load.failures),
        others=sum(not is_own(failure, version, given, champions) for failure in load.failures),
        unasked=0 if gets_traffic(fault) else len(answers),
        early=sum(failure.at < reached for failure in load.failures) if fault.step > 1 else 0,
        killed=killed,
    )


def gets_traffic(fault: Fault) -> bool:
    """Whether the challenger answers the operator well, and then its first clients."""
    return fault.happens is not None and fault.befalls is not always


def given_to(log: str) -> dict[str, str | None]:
    """By its id, of each request that failed by the Gateway's log: to which version it was given, None for nobody."""
    found: dict[str, str | None] = {}
    for line in map(json.loads, filter(lambda text: text.startswith("{"), log.splitlines())):
        server = SERVER.match(line.get("ServiceName", ""))
        found[str(line.get("request_Ce-Id"))] = server.group(1) if server else None
    return found


def is_own(failure: Sample, version: str, given: dict[str, str | None], answered: list[float]) -> bool:
    """Whether the challenger failed it; `answered` is when requests were sent that the champion answered."""
    if OTHER_SCHEMA in str(failure.problem):
        return True
    if failure.id not in given or given[failure.id] is not None:
        return given.get(failure.id) == version
    before = any(failure.at - AROUND <= at <= failure.at for at in answered)
    return before and any(failure.at <= at <= failure.at + AROUND for at in answered)


def challenge(stage: Stage, number: int) -> str:
    """The version that has the fault, on its way."""
    version = f"v{number + FIRST - 1}"
    run = f"gym-{version.removeprefix('v')}"
    stage.kubectl.apply(
        "{apiVersion: churnops.dev/v1alpha1, kind: TrainingRun, "
        f"metadata: {{name: {run}}}, "
        f"spec: {{modelRef: {{name: gym}}, reason: the next fault, requestedBy: {stage.kubectl.whoami()}}}}}"
    )
    wait(stage, f"{version} on its way", lambda: state(stage, version) is not None)
    return version


def others(seen: Iterable[str]) -> list[str]:
    """What else was seen than a challenger that is held."""
    return sorted(set(seen) - {STILL})


def play_mute(stage: Stage, number: int) -> list[str]:
    """What was seen of state, step and verdict from the moment on when nothing could be read."""
    version, seen = challenge(stage, number), []

    def verdict() -> str:
        return str(rollout(stage).get("verdict", {}).get("result"))

    with Load(gateway("gym"), members(), per_second=PER_SECOND, host=host(stage)):
        wait(stage, "nothing to be read", lambda: verdict() == "Error")
        until = time.monotonic() + MUTE_SECONDS
        while time.monotonic() < until:
            seen.append(f"{state(stage, version)}, step {rollout(stage).get('step')}, {verdict()}")
            time.sleep(1)
    return sorted(set(seen))


def wait_until_it_matters(stage: Stage, version: str, fault: Fault, load: Load) -> float:
    """Until the challenger has got the traffic that it fails with, or is waited for; when that was."""
    starting = {"version": version, "phase": "Starting"}
    late = {"version": version, "phase": "Shifting", "step": fault.step, "weight": WEIGHTS[fault.step - 1]}
    if fault.step > 1:
        wait(stage, f"{version} in step {fault.step}", lambda: late.items() <= rollout(stage).items())
    elif gets_traffic(fault):
        wait(stage, f"{version} answers a client", lambda: version in load.versions)
    else:
        wait(stage, f"{version} starts", lambda: starting.items() <= rollout(stage).items())
    return time.monotonic()


def versions(stage: Stage) -> list[Object]:
    found: list[Object] = (stage.kubectl.get("churnmodels", "gym") or {}).get("status", {}).get("versions", [])
    return found


def state(stage: Stage, version: str) -> str | None:
    return next((v["state"] for v in versions(stage) if v["version"] == version), None)


def rollout(stage: Stage) -> Object:
    found: Object = (stage.kubectl.get("churnmodels", "gym") or {}).get("status", {}).get("rollout", {})
    return found


if __name__ == "__main__":
    sys.exit(main())
