"""Tells the story of one model as it happens, with times. Ends by itself.

python -m hack.demo.story
"""

import json
import os
import shlex
import shutil
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from hack.demo import world
from hack.demo.kube import KubectlRefused, NotReached, Object, condition, holds, wait_until
from hack.demo.load import Load, predict
from hack.demo.stage import GATEWAYS, Mlflow, Stage, customer, customers, gateway

NAMESPACE = "churn-demo"
HOST = "telco.example.com"
GATEWAY = {"parentRefs": [{"name": "public", "namespace": GATEWAYS}], "hostnames": [HOST]}
GATEWAY_RATE = 100
APPROVER = "carol"
EVENTS = ("--sort-by=.lastTimestamp", "-o=custom-columns=REASON:.reason,MESSAGE:.message")
WIDTH = 118
FINAL = ("Accepted", "Rejected", "Failed")
T = TypeVar("T")


@dataclass
class Teller:
    """Prints what happens and when; remembers how long things took."""

    stage: Stage
    begin: float = field(default_factory=time.monotonic)
    figures: list[tuple[str, float]] = field(default_factory=list)

    def chapter(self, title: str) -> None:
        print(f"\n{self._clock()}  == {title}")

    def say(self, text: str) -> None:
        lines = textwrap.wrap(text, WIDTH - 8, break_long_words=False, break_on_hyphens=False)
        print(f"{self._clock()}  " + f"\n{' ' * 8}".join(lines), flush=True)

    def show(self, *command: str) -> None:
        """What a person would see who typed this."""
        print(f"\n        $ kubectl -n {self.stage.namespace} {' '.join(command)}")
        for line in self.stage.kubectl.run(*command).splitlines():
            print(f"        {line}")
        print(flush=True)

    def churn(self, *command: str, refused: bool = False) -> None:
        """What a person would see who typed this, and who was refused or not, as it should be."""
        try:
            said, was_refused = self.stage.kubectl.churn(*command), False
        except KubectlRefused as error:
            said, was_refused = error.said, True
        typed = f"$ kubectl churn {shlex.join((*command, '-n', self.stage.namespace))}\n{said.strip()}"
        print("\n" + textwrap.indent(typed, " " * 8) + "\n", flush=True)
        if refused != was_refused:
            raise NotReached(f"kubectl churn {command[0]} was {'' if was_refused else 'not '}refused")

    def wait(self, what: str, look: Callable[[], T | None], seconds: float = 180) -> T:
        return wait_until(what, look, seconds=seconds, diagnose=self.stage.kubectl.diagnose)

    def measure(self, what: str, since: float) -> None:
        self.figures.append((what, time.monotonic() - since))

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self.begin)
        return f"{seconds // 60:3d}:{seconds % 60:02d}"


class Demo:
    """The chapters, in order."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.kubectl = stage.kubectl
        self.tell = Teller(stage)
        self.mlflow = Mlflow()
        self.rows = pd.read_csv(world.TELCO)

    def play(self) -> None:
        self.first_model()
        alarm = self.world_changes()
        self.challenger(alarm)
        self.poison()
        self.accident()
        with Load(gateway("telco"), self._later(), per_second=GATEWAY_RATE, host=HOST) as load:
            self.canary(load)
            self.bad_canary(load)
        self.what_next()

    def first_model(self) -> None:
        tell = self.tell
        tell.chapter("1. One file in")
        self.stage.publish_file(world.TELCO, "telco.csv")
        tell.say(f"{len(self.rows)} customers are in the object store, at {self.stage.uri('telco.csv')}.")
        self.kubectl.apply(self.stage.sample("telco/churnmodel.yaml"))
        applied = time.monotonic()
        tell.say("kubectl apply -f samples/telco/churnmodel.yaml")
        self._follow(1, "Accepted")
        self._say_condition(self._run(1), "GatesPassed")
        tell.chapter("2. A served model out")
        model = self._champion("v1")
        tell.measure("kubectl apply to the first champion's answer", applied)
        tell.say(f"telco-v1 serves: {condition(model, 'Ready')['message']}")
        answer = predict(self.stage.endpoint("telco"), customer(self.rows))
        tell.say(f"POST {self.stage.endpoint('telco')} answers {answer}")
        alias = self.mlflow.alias(f"{self.stage.namespace}.telco", "champion")
        tell.say(f"In MLflow, alias champion of {self.stage.namespace}.telco points at version {alias}.")
        tell.show("get", "churn")

    def world_changes(self) -> float:
        tell = self.tell
        tell.chapter("3. The world changes")
        tell.wait("the first look at the predictions", self._looked)
        self._say_condition(self._monitor(), "WithinDriftLimits")
        count = self.stage.ask("telco", "baseline", slice(world.BASELINE_ROWS))
        tell.say(f"{count} customers like those of the training ask; KServe's logger hands each to the collector.")
        tell.wait("the first window compared", self._judged)
        self._say_condition(self._monitor(), "WithinDriftLimits")
        count = self.stage.ask("telco", "current")
        landed = time.monotonic()
        tell.say(
            f"Fibre now costs {world.FIBRE_RISE - 1:.0%} more, and a campaign brought {world.CAMPAIGN_SHARE:.0%} of "
            f"today's customers, month to month. {count} of them have just asked."
        )
        monitor = tell.wait("WithinDriftLimits False", self._alarmed)
        alarm = time.monotonic()
        tell.measure("the last of today's customers asked to the alarm", landed)
        self._say_condition(monitor, "WithinDriftLimits")
        tell.say(f"Evidently's report: {monitor['status']['links']['report']}")
        return alarm

    def challenger(self, alarm: float) -> None:
        tell = self.tell
        tell.chapter("4. A challenger wins")
        self.stage.publish("labelled", "telco.csv")
        tell.say(f"The labels of {world.LABELLED_ROWS} of today's customers arrive: a new state of the training data.")
        today = customers(world.STATES["current"](self.rows, np.random.default_rng(world.SEED)))
        with Load(self.stage.endpoint("telco"), today) as load:
            tell.wait("TrainingRun telco-2", lambda: self._run(2))
            tell.say("50 predictions a second go to the stable Service from now on.")
            run = self._follow(2, "Accepted")
            for verdict in run["status"]["verdicts"]:
                tell.say(f"gate {verdict['name']}: {verdict['verdict']}. {verdict['message']}")
            self._champion("v2")
            tell.measure("alarm to the new champion serving", alarm)
            tell.say("telco-v2 has the traffic; telco-v1 stays warm for its guard time of 30 s.")
            tell.show("get", "chm,trun")
            tell.wait("telco-v1 gone", lambda: self.kubectl.get("inferenceservices", "telco-v1") is None)
        tell.say(f"telco-v1 is gone. {load.summary()}.")
        if load.failures:
            raise NotReached(f"a request failed: {load.failures[0]}")

    def poison(self) -> None:
        tell = self.tell
        tell.chapter("5. Poison is refused")
        self.stage.publish("poisoned", "telco.csv")
        tell.say("An accident: a state of the training data arrives whose labels are shuffled.")
        tell.wait("TrainingRun telco-3", lambda: self._run(3))
        run = self._follow(3, "Rejected")
        self._say_condition(run, "GatesPassed")
        answer = predict(self.stage.endpoint("telco"), customer(self.rows))
        tell.say(f"The champion is untouched: {answer}")

    def accident(self) -> None:
        tell = self.tell
        tell.chapter("6. What somebody deletes comes back")
        before = (self.kubectl.get("inferenceservices", "telco-v2") or {})["metadata"]["uid"]
        self.kubectl.delete("inferenceservices", "telco-v2", "--wait=false")
        deleted = time.monotonic()
        tell.say("kubectl delete inferenceservice telco-v2")
        tell.wait("another InferenceService telco-v2", lambda: self._replacement(before))
        tell.measure("InferenceService deleted by hand to its return", deleted)
        tell.say("It is back.")
        operator = ("-n", "churn-system", "delete", "pod", "-l", "app.kubernetes.io/name=churn-operator")
        self.kubectl.run(*operator, "--grace-period=0", "--force")
        tell.say("The operator is killed as well.")
        tell.wait("InferenceService telco-v2 Ready", lambda: holds(self._replacement(before), "Ready"))
        self._champion("v2")
        tell.measure("the same to its being ready, the operator killed meanwhile", deleted)
        runs = sorted(run["metadata"]["name"] for run in self.kubectl.list("trainingruns"))
        tell.say(f"telco-v2 answers again. Nothing was trained twice: the runs are {', '.join(runs)}.")
        tell.show("get", "churn")

    def canary(self, load: Load) -> None:
        tell = self.tell
        tell.chapter("7. From now on step by step, and with a person's yes")
        steps = [{"weight": 20, "pause": "15s"}, {"weight": 50, "pause": "20s"}]
        rollout = {"strategy": "Canary", "steps": steps, "analysis": {"maxScoreDistance": 0.05}}
        spec = {"serving": {"gateway": GATEWAY}, "rollout": rollout, "approval": {"required": True}}
        self.kubectl.run("patch", "chm", "telco", "--type=merge", "--patch", json.dumps({"spec": spec}))
        role = "--clusterrole=churn-operator-approver"
        self.kubectl.run("create", "rolebinding", APPROVER, role, f"--user={APPROVER}")
        tell.say(
            "kubectl patch chm telco: clients ask through a Gateway now. A new version gets 20 % of them, then 50 %, "
            f"once somebody has approved it. {APPROVER} may, and nothing else."
        )
        tell.wait("the way through the Gateway", lambda: load.versions == ["v2"] and not load.samples[-1].problem)
        begun = len(load.samples)
        tell.say(f"{GATEWAY_RATE} predictions a second go to {HOST} at the Gateway.")
        self.stage.publish("later", "telco.csv")
        tell.say("More labels of today's customers arrive.")
        self._follow(4, "AwaitingApproval")
        tell.say("Who may edit the model does not approve what it makes:")
        tell.churn("approve", "telco-4", "--yes", refused=True)
        self._approve(4, "better on the new tariffs")
        for step in (1, 2):
            self._say_condition(tell.wait(f"step {step}", partial(self._at_step, "v4", step)), "RolloutHealthy")
        self._champion("v4")
        tell.say("telco-v4 has the traffic.")
        self._say_load(load, begun)

    def bad_canary(self, load: Load) -> None:
        tell = self.tell
        tell.chapter("8. What no held-out row can show")
        begun = len(load.samples)
        self.stage.publish("leavers", "telco.csv")
        tell.say("Another accident: an export of the data that lost most of the customers who stayed.")
        run = self._follow(5, "AwaitingApproval")
        for verdict in run["status"]["verdicts"]:
            tell.say(f"gate {verdict['name']}: {verdict['verdict']}. {verdict['message']}")
        tell.say("It ranks its own customers as well as ever: nothing that an approver would mind.")
        self._approve(5, "looks as good as the one before")
        tell.wait("step 1", lambda: self._at_step("v5", 1))
        shifted = time.monotonic()
        tell.say("But clients are others: telco-v5 gets 20 % of them.")
        model = tell.wait("v5 rolled back", lambda: self._rolled_back("v5"))
        tell.measure("a challenger's first client to its end", shifted)
        self._say_condition(model, "RolloutHealthy")
        self._champion("v4")
        tell.say("telco-v4 has all of the traffic again.")
        self._say_load(load, begun)
        tell.show("get", "chm,trun")
        tell.show("get", "events", "--field-selector=involvedObject.kind=ChurnModel,reason=AnalysisFailed", *EVENTS)

    def _approve(self, number: int, comment: str) -> None:
        self.tell.churn("approve", f"telco-{number}", "--comment", comment, "--yes", "--as", APPROVER)
        approved = self.tell.wait(f"telco-{number} Accepted", lambda: self._accepted(number))
        self._say_condition(approved, "Approved")

    def _say_load(self, load: Load, begun: int) -> None:
        samples = load.samples[begun:]
        failed = [sample for sample in samples if sample.problem]
        answered = Counter(sample.version for sample in samples if sample.version)
        shares = ", ".join(f"{count} by {version}" for version, count in sorted(answered.items()))
        self.tell.say(f"{len(samples)} requests at the Gateway meanwhile, {len(failed)} failed; answered {shares}.")
        if failed:
            raise NotReached(f"a request failed: {failed[0]}")

    def _later(self) -> list[Object]:
        rows = world.later(self.rows, np.random.default_rng(world.SEED))
        return customers(rows.sample(4000, random_state=world.SEED))

    def _at_step(self, version: str, step: int) -> Object | None:
        model = self.kubectl.get("churnmodels", "telco") or {}
        rollout = model.get("status", {}).get("rollout", {})
        return model if (rollout.get("version"), rollout.get("step")) == (version, step) else None

    def _rolled_back(self, version: str) -> Object | None:
        model = self.kubectl.get("churnmodels", "telco") or {}
        found = model.get("status", {}).get("versions", [])
        state = found[0]["state"] if found[0]["version"] == version else ""
        return model if state in {"RolledBack", "Quarantined"} else None

    def what_next(self) -> None:
        self.tell.chapter("What was measured")
        for what, seconds in self.tell.figures:
            print(f"        {seconds:6.1f} s  {what}")
        alias = "" if shutil.which("kubectl") else f"; alias kubectl={self.kubectl.program}"
        print(f"""
        Look at it:
          export KUBECONFIG={os.environ.get("KUBECONFIG", "")}{alias}
          kubectl config set-context --current --namespace {self.stage.namespace}
          kubectl describe chm telco                      why this version serves
          kubectl describe trun telco-3                   why that run was rejected
          kubectl get dmon telco -o yaml                  each column's drift
          {self.mlflow.url:47s} MLflow: runs, models, reports
        Try next:
          kubectl explain churnmodel.spec --recursive
          kubectl patch chm telco --type merge -p '{{"spec": {{"serving": {{"replicas": 2}}}}}}'
          hack/demo/put samples/gym/gym.csv s3://churn/gym.csv && kubectl apply -f samples/gym/churnmodel.yaml
          make demo-clean                                 leaves nothing
""")

    def _run(self, number: int) -> Object | None:
        return self.kubectl.get("trainingruns", f"telco-{number}")

    def _accepted(self, number: int) -> Object | None:
        run = self._run(number)
        return run if run is not None and run["status"]["phase"] == "Accepted" else None

    def _monitor(self) -> Object | None:
        return self.kubectl.get("driftmonitors", "telco")

    def _looked(self) -> bool:
        return bool(condition(self._monitor(), "WithinDriftLimits").get("reason") == "TooFewPredictions")

    def _judged(self) -> bool:
        return bool((self._monitor() or {}).get("status", {}).get("checks"))

    def _alarmed(self) -> Object | None:
        monitor = self._monitor()
        return monitor if condition(monitor, "WithinDriftLimits").get("status") == "False" else None

    def _replacement(self, uid: str) -> Object | None:
        found = self.kubectl.get("inferenceservices", "telco-v2")
        return found if found is not None and found["metadata"]["uid"] != uid else None

    def _champion(self, version: str) -> Object:
        def serving() -> Object | None:
            model = self.kubectl.get("churnmodels", "telco")
            champion = (model or {}).get("status", {}).get("summary", {}).get("champion")
            return model if champion == version and holds(model, "Ready") else None

        return self.tell.wait(f"champion {version} Ready", serving)

    def _say_condition(self, thing: Object | None, kind: str) -> None:
        said = condition(thing, kind)
        self.tell.say(f"{kind} is {said['status']}, {said['reason']}: {said['message']}")

    def _follow(self, number: int, phase: str) -> Object:
        """Print the run's opening and its progress until it is in that phase, and in no other that it stays in."""
        run = self.tell.wait(f"TrainingRun telco-{number}", lambda: self._run(number))
        spec = run["spec"]
        self.tell.say(f"TrainingRun telco-{number} opens, trigger {spec['trigger']}: {spec.get('reason', '')}")
        told = ""

        def ended() -> Object | None:
            nonlocal told
            status = (self._run(number) or {}).get("status", {})
            progress = status.get("progress", {})
            line = (
                f"telco-{number}  {status.get('phase', '')}  {progress.get('percent', 0)} %  {progress.get('step', '')}"
            )
            line += f"  metric {progress['metric']:.4f}" if "metric" in progress else ""
            if line != told:
                self.tell.say(line)
                told = line
            return {"status": status} if status.get("phase") in {phase, *FINAL} else None

        run = self.tell.wait(f"the end of telco-{number}", ended, 300)
        if run["status"]["phase"] != phase:
            raise NotReached(f"telco-{number} is {run['status']['phase']}, not {phase}\n{self.kubectl.diagnose()}")
        return run


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            Demo(Stage(namespace=NAMESPACE, scratch=Path(scratch))).play()
        except NotReached as broken:
            sys.exit(str(broken))


if __name__ == "__main__":
    main()
