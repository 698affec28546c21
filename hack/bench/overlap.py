"""Stops the leader of two operators at work, lets the other take over, and wakes it: again and again.

python -m hack.bench.overlap [OVERLAPS]

Real processes on a real etcd and kube-apiserver; MLflow is a stub that knows nothing. What may never happen is read
from the audit log.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from hack.bench.bounds import Bound, judged
from hack.bench.mlflow_stub import MlflowStub
from hack.bench.scale import api_server
from support.overlap import LEASE_SECONDS, pair, verdict

TOLD = 10
HARMLESS = ("patch ", "create events ")
"""Names the resourceVersion it was decided on; tells again what a status says: see core/lease.py."""


def main() -> int:
    overlaps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    tracking = MlflowStub()
    tracking.start()
    with tempfile.TemporaryDirectory() as folder, api_server(Path(folder)) as plane:
        with pair(plane, "scale", Path(folder), tracking.uri) as two:
            two.leader()
            waiting = next(operator for operator in two.operators.values() if not operator.leads())
            print(f"one that stands by takes {waiting.memory:.0f} MB")
            for number in range(1, overlaps + 1):
                two.overlap()
                if number % TOLD == 0:
                    print(f"  {number} overlaps", flush=True)
        said = verdict(plane, "scale")
    tracking.stop()
    took = two.takeovers
    print(f"{overlaps} overlaps, {two.models} models: {said.effects} effects, {len(said.duplicates)} of them twice;")
    print(f"  {len(said.late)} writes sent after the Lease had passed on;", *said.late)
    print(f"  {len(said.under_way)} were under way then, and answered after:", *sorted(said.under_way))
    print(f"  {said.refused} writes refused by the API server")
    print(f"  from the stop to the next one's lead, with a Lease of {LEASE_SECONDS} s:", end=" ")
    print(f"p50 {statistics.median(took):.1f} s, longest {max(took):.1f} s")
    harmful = [write for write in said.late if not write.startswith(HARMLESS)]
    return judged(
        Bound("overlaps", len(took), least=overlaps),
        Bound("effects that happened twice", len(said.duplicates), most=0),
        Bound("harmful writes sent after the Lease had passed on", len(harmful), most=0),
    )


if __name__ == "__main__":
    sys.exit(main())
