"""The InferenceService of a version, to the letter.

`CHURN_WRITE_GOLDEN=1 pytest tests/golden` writes it anew; the difference is then yours to judge.
"""

import json
import os
from pathlib import Path

import yaml
from support.kinds import make_spec, make_version, serving_world

from churn_operator.churnmodel.servers import server

EXPECTED = Path(__file__).parent / "server-autoscaled.yaml"


def test_the_server_of_an_autoscaled_version_is_the_expected_one() -> None:
    serving = {"replicas": 2, "autoscaling": {"maxReplicas": 8, "targetUtilization": 70}}
    built = server(serving_world(make_spec(serving=serving)), make_version(1))
    made = yaml.safe_dump(json.loads(json.dumps(built)), sort_keys=False)  # else what is there twice is an alias
    if os.environ.get("CHURN_WRITE_GOLDEN"):
        EXPECTED.write_text(made)
    assert made == EXPECTED.read_text()
