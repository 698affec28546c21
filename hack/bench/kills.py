"""A whole life for each of its writes, with the operator killed before, during or after it: of each story there is."""

import asyncio
import sys
import tempfile
from pathlib import Path

from support.control_plane import ControlPlane
from support.kills import Lives, played_kinds, sweep
from support.mlflow_server import MlflowServer
from support.proxy import Moment
from support.stories import STORIES


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        plane, mlflow = ControlPlane(_new(folder, "plane")), MlflowServer(_new(folder, "mlflow"))
        with plane.serving(), played_kinds(plane):
            try:
                mlflow.start()
                differences = []
                for story in STORIES:
                    lives = Lives(story, plane, mlflow, Path(folder))
                    differences += asyncio.run(sweep(lives, lambda _: list(Moment)))
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
