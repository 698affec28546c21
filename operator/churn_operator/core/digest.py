"""Digests of specifications."""

import hashlib
import json

from churn_operator.api.churnmodel import ChurnModelSpec


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
    text = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
