"""A model with everything there is to see of one, as the operator would have written it; and people who look at it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.control_plane import ROOT, ControlPlane
from support.kinds import EARLIER, HEX, make_check, make_resolved, make_result, make_version
from typer.testing import CliRunner

from churn_operator.api.analysis import Sample, TestName, TestOutcome, TestResult, Verdict
from churn_operator.api.base import API_VERSION
from churn_operator.api.churnmodel import VersionState
from churn_operator.api.tasks import ComparisonResult
from churn_operator.cli.__main__ import app

DIGEST = f"sha256:{HEX}"
OTHER = f"sha256:{'0' * 64}"
SPEC = {
    "data": {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"},
    "serving": {"gateway": {"parentRefs": [{"name": "public"}]}},
    "rollout": {"strategy": "Canary", "guard": "1h"},
}
ERRORS = TestResult(
    name=TestName.ErrorRate,
    result=TestOutcome.Pass,
    reference=Sample(size=10800, events=10, estimate=10 / 10800),
    challenger=Sample(size=1200, events=3, estimate=3 / 1200),
    estimate=0.00157,
    lower=-0.0021,
    upper=0.0104,
    bound=0.01,
    evidence=-0.31,
    needed=2.08,
    message="the difference is no failure.",
)
SCORES = TestResult(
    name=TestName.Scores,
    result=TestOutcome.Inconclusive,
    reference=Sample(size=1409, estimate=0.264),
    challenger=Sample(size=90, estimate=0.271),
    estimate=0.041,
    lower=0.0,
    upper=0.183,
    bound=0.1,
    message="too few probabilities.",
)
VERDICT = Verdict(result=TestOutcome.Inconclusive, message="Scores: too few.", tests=(ERRORS, SCORES))


def condition(type_: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": EARLIER}


READY = condition("Ready", "True", "ChampionServing", "v1 answers as expected at http://telco.")
COMPLETE = condition("RolloutHealthy", "True", "RolloutComplete", "Traffic is on v1.")
SERVING: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Serving",
    "conditions": [READY, COMPLETE],
    "versions": [make_version(1).to_dict()],
    "traffic": [{"version": "v1", "percent": 100}],
    "lastRun": 1,
    "summary": {"champion": "v1", "traffic": "v1=100%", "metric": "roc_auc=0.8400"},
    "links": {"endpoint": "http://telco.team.svc/v1/models/telco:predict"},
}
SHIFTING: dict[str, Any] = SERVING | {
    "phase": "RollingOut",
    "conditions": [READY, condition("RolloutHealthy", "Unknown", "Shifting", "Step 1 of 2.")],
    "versions": [make_version(2, VersionState.RollingOut).to_dict(), make_version(1).to_dict()],
    "traffic": [{"version": "v1", "percent": 90, "counted": 91}, {"version": "v2", "percent": 10, "counted": 9}],
    "rollout": {
        "version": "v2",
        "phase": "Shifting",
        "step": 1,
        "weight": 10,
        "began": EARLIER,
        "since": EARLIER,
        "verdict": VERDICT.to_dict(),
        "message": "the analysis has not passed",
    },
    "lastRun": 2,
}
BACK: dict[str, Any] = SERVING | {
    "conditions": [READY, condition("RolloutHealthy", "False", "AnalysisFailed", "v2 failed: 5 % of errors.")],
    "versions": [make_version(2, VersionState.RolledBack).to_dict(), make_version(1).to_dict()],
    "rollout": {
        "version": "v2",
        "phase": "RolledBack",
        "began": EARLIER,
        "since": EARLIER,
        "reason": "AnalysisFailed",
        "message": "v2 failed: 5 % of errors.",
    },
}
GATE = {"name": "quality", "verdict": "Passed", "message": "roc_auc is 0.85 on 1409 held-out rows; at least 0.8."}
COMPARED = ComparisonResult(
    metric="roc_auc", confidence=0.95, challenger=0.85, champion=0.84, lower_bound=0.004, rows=1409, unseen=True
)
WAITING: dict[str, Any] = {
    "phase": "AwaitingApproval",
    "conditions": [
        condition("Succeeded", "True", "Trained", "LogisticRegression was trained on 5634 rows."),
        condition("GatesPassed", "True", "GatesPassed", "quality: roc_auc is 0.85."),
        condition("Approved", "Unknown", "AwaitingApproval", "Every gate holds."),
    ],
    "resolved": make_resolved(3).to_dict(),
    "approvalTerms": {"required": True, "timeout": "7d"},
    "result": make_result(3, comparisons=[COMPARED]).to_dict(),
    "verdicts": [GATE],
    "evidenceDigest": DIGEST,
    "awaitingSince": EARLIER,
    "metric": "0.8500",
    "links": {"run": "http://mlflow/#/experiments/1/runs/r1"},
}
DRIFTED: dict[str, Any] = {
    "version": "v1",
    "conditions": [condition("WithinDriftLimits", "False", "DriftDetected", "40% of the features drifted.")],
    "checks": [make_check(1).to_dict()],
    "columns": [
        {"name": "tenure", "score": 0.4, "drifted": True},
        {"name": "partner", "score": 0.01, "drifted": False},
    ],
    "share": "0.40",
    "lastCheckAt": EARLIER,
    "nextCheckAt": "2026-11-21T12:10:00Z",
    "links": {"report": "http://mlflow/drift.html"},
}


def obj(kind: str, name: str, spec: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "generation": 1}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec, "status": status or {}}


def run_spec(**fields: Any) -> dict[str, Any]:
    return {
        "modelRef": {"name": "telco"},
        "trigger": "Manual",
        "reason": "a new price",
        "requestedBy": "alice",
    } | fields


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Person:
    """Somebody at a shell, with a namespace as the flag or the context has it."""

    kubeconfig: Path
    namespace: str

    def types(self, *words: str, answers: str | None = None) -> Said:
        flags = ("--kubeconfig", str(self.kubeconfig), "-n", self.namespace)
        result = CliRunner().invoke(app, [*words, *flags], input=answers, prog_name="kubectl churn")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def starts(self, *words: str) -> subprocess.Popen[str]:
        """The same, as a process of its own."""
        environment = os.environ | {"PYTHONPATH": f"{ROOT / 'operator'}", "PYTHONUNBUFFERED": "1"}
        flags = ("--kubeconfig", str(self.kubeconfig), "-n", self.namespace)
        return subprocess.Popen(
            [sys.executable, "-m", "churn_operator.cli", *words, *flags],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@dataclass(frozen=True)
class Played:
    """The operator's part, played."""

    plane: ControlPlane
    namespace: str

    def makes(self, kind: str, name: str, spec: dict[str, Any], status: dict[str, Any] | None = None) -> None:
        made = obj(kind, name, spec) | {"metadata": {"name": name, "namespace": self.namespace}}
        made.pop("status")
        self.plane.kubectl("create", "-f", "-", stdin=json.dumps(made))
        if status is not None:
            self.says(kind, name, status)

    def says(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """As the operator does: by server-side apply, and never what people write."""
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": self.namespace}}
        how = ("--server-side", "--subresource=status", "--field-manager=churn-operator", "--force-conflicts")
        self.plane.kubectl("apply", *how, "-f", "-", stdin=json.dumps(body | {"status": status}))

    def sees(self, kind: str, name: str) -> Any:
        printed = self.plane.kubectl("-n", self.namespace, "get", kind, name, "-o", "json", "--show-managed-fields")
        return json.loads(printed)
