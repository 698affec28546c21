"""Digests of specifications and of evidence, and of anything else that is JSON."""

import hashlib
import json
from typing import Any

from churn_operator.api.churnmodel import ChurnModelSpec
from churn_operator.api.tasks import Resolved, TrainResult
from churn_operator.api.training import Gates
from churn_operator.api.trainingrun import GateVerdict


def spec_digest(spec: ChurnModelSpec) -> str:
    """Digest of what decides which model comes out: data, training and gates, not resources or deadlines."""
    training = spec.training.to_dict()
    training.pop("resources", None)
    training.pop("activeDeadlineSeconds", None)
    data = spec.data.to_dict()
    data["source"].pop("secretRef", None)
    if not data["pii"]:
        del data["pii"]  # came later: models that do not name it keep their digests
    what = {"data": data, "training": training, "gates": [gate.to_dict() for gate in spec.gates]}
    return digest_of(what)


def evidence_digest(resolved: Resolved, gates: Gates, result: TrainResult, verdicts: tuple[GateVerdict, ...]) -> str:
    """Digest of what a person approves.

    The run's UID is in it, so that an approval is worth nothing for another run, be it of the same name. What a verdict
    says in words is not: it follows from the rest, and another wording is no other evidence.
    """
    task, measured = resolved.task, result.to_dict()
    del measured["golden"]  # the model's digest stands for it, and its numbers come back from the API server as others
    return digest_of(
        {
            "run": {"namespace": task.namespace, "name": task.run, "uid": task.uid},
            "specDigest": resolved.spec_digest,
            "champion": task.champion.to_dict() if task.champion else None,
            "result": measured,
            "gates": [gate.to_dict() for gate in gates],
            "verdicts": {verdict.name: verdict.verdict for verdict in verdicts},
        }
    )


def digest_of(what: dict[str, Any]) -> str:
    """SHA-256 of the JSON, in ASCII, with sorted keys and without blanks."""
    text = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
