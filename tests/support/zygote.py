"""Starts operators as processes of their own, in milliseconds: it imports the operator once and then forks.

Each line of standard input is the JSON of an environment, with the file to log to under LOG; each line of standard
output is the process id of what was started. The child runs `churn_operator.__main__.main`, as `python -m` would.
Servers of models are played in these tests, and so is what they answer; what they have counted is asked for where
PREDICTORS says (see predictors.py).
"""

import json
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from churn_operator import __main__ as operator
from churn_operator.api.tasks import Golden
from churn_operator.core.kind import Answer
from churn_operator.core.prober import Prober
from churn_operator.core.scraper import Scraper

_metrics = Scraper.metrics


async def _as_expected(self: Prober, url: str, golden: Golden) -> Answer:  # noqa: ARG001 - the interface
    return Answer(ok=True, message=f"probability {golden.probability:g} as expected")


async def _of_played_pod(self: Scraper, url: str) -> str:
    return await _metrics(self, f"{os.environ['PREDICTORS']}/{urlsplit(url).hostname}/metrics")


def main() -> None:
    """Fork until the input ends."""
    Prober.predict = _as_expected  # type: ignore[method-assign] # servers are played
    Scraper.metrics = _of_played_pod  # type: ignore[method-assign] # pods are, too
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a child ended
    for line in sys.stdin:
        environment = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_run(environment))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def _run(environment: dict[str, str]) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with Path(environment.pop("LOG")).open("ab") as log, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.update(environment)
    return operator.main()


if __name__ == "__main__":
    main()
