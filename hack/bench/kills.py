"""A whole life for each of its writes, with the operator killed before, during or after it."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from support.control_plane import ControlPlane
from support.keeper import INFERENCE_SERVICES
from support.kills import Lives, sweep
from support.mlflow_server import MlflowServer
from support.proxy import Moment


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        plane, mlflow = ControlPlane(_new(folder, "plane")), MlflowServer(_new(folder, "mlflow"))
        with plane.serving():
            plane.kubectl("create", "-f", "-", stdin=json.dumps(INFERENCE_SERVICES))
            plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
            try:
                mlflow.start()
                differences = asyncio.run(sweep(Lives(plane, mlflow, Path(folder)), lambda _: list(Moment)))
            finally:
                mlflow.stop()
    print(f"{len(differences)} came out differently", *differences, sep="\n")
    return 1 if differences else 0


def _new(folder: str, name: str) -> Path:
    path = Path(folder) / name
    path.mkdir()
    return path


if __name__ == "__main__":
    sys.exit(main())
