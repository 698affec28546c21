"""`shadow`: what a challenger answers to what clients asked the champion.

Rows come from the inference log, and are sent as the champion's clients sent them: each with the columns of the
champion's contract, so that a challenger that would refuse its clients is found out here. Every request is marked as a
shadow: neither the log nor the metrics take it for a client's. What was answered goes nowhere but into the figures.
"""

import hashlib
import json
import logging
import math
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from churn_operator.api.analysis import SCORE_BINS
from churn_operator.api.contract import CONTRACT_FILE, Contract
from churn_operator.api.inference_log import FEATURE_PREFIX, KIND_HEADERS, Partition
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import Latency, ShadowResult, ShadowTask
from churn_operator.jobs import bundle, predictions
from churn_operator.storage.failure import Unavailable

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import requests
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

WORKERS = 8
"""Requests that are under way at the same time, at most."""
TIMEOUT = (2.0, 5.0)
"""Seconds to connect, and for an answer."""
ATTEMPTS = 5
PAUSE_SECONDS = 1.0
"""Between two attempts to get the first answer."""
HEADERS = {"content-type": "application/json"} | {
    header: "true" for header, kind in KIND_HEADERS.items() if kind == "Shadow"
}
_HIDDEN = 8
_SHOWN = 64
_PROBLEM = 256

Row = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What came of one request."""

    seconds: float
    status: int = 0
    """0 where nothing was heard."""
    probability: float = math.nan
    churn: bool = False
    problem: str = ""
    """Why it is no prediction."""

    @property
    def refused(self) -> bool:
        return 400 <= self.status < 500


def shadow(task: ShadowTask) -> ShadowResult:
    """Replays, unless the log holds too little to be judged: then nothing is sent.

    Raises:
        JobError: the log cannot be read, or nobody answers where the challenger should.
    """
    logged = predictions.read(task.log, Partition(task.namespace, task.churn_model, task.champion.version)).table
    if logged.num_rows < task.log.min_rows:
        log.info("%d logged rows are fewer than %d", logged.num_rows, task.log.min_rows)
        return ShadowResult(outcome="TooFew", logged=logged.num_rows)
    contract = bundle.load(task.champion.model, only=(CONTRACT_FILE,)).contract
    chosen = choose(logged, task.requests)
    hidden = hidden_columns(chosen, contract)
    rows = as_sent(chosen, contract, hidden)
    asker = Asker(task.url)
    asker.wait(rows[0])
    replies = asker.replay(rows, task.requests_per_second)
    return figures(task, logged.num_rows, chosen, replies, hidden)


def choose(logged: "pa.Table", count: int) -> "pa.Table":
    """So many rows, by a hash of what names them: the same of the same log, from all of its days and clients."""
    names = zip(logged["event_id"].to_pylist(), logged["row"].to_pylist(), strict=True)
    hashes = [hashlib.sha256(f"{event} {row}".encode()).digest() for event, row in names]
    return logged.take(sorted(range(len(hashes)), key=hashes.__getitem__)[:count])


def hidden_columns(logged: "pa.Table", contract: Contract) -> tuple[str, ...]:
    """Features of which the log holds no values, but at most riddles."""
    personal = {item.column for item in contract.personal}
    known = set(logged.column_names)
    return tuple(f.name for f in contract.features if f.name in personal or FEATURE_PREFIX + f.name not in known)


def as_sent(logged: "pa.Table", contract: Contract, hidden: Sequence[str]) -> list[Row]:
    """The rows as a client sends them; what is hidden is a missing value."""
    names = {f.name: FEATURE_PREFIX + f.name for f in contract.features}
    return [
        {name: None if name in hidden else _known(row[column]) for name, column in names.items()}
        for row in ({**dict.fromkeys(names.values()), **row} for row in logged.to_pylist())
    ]


def _known(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Asker:
    """Sends rows, no faster than allowed, and keeps connections."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._own = threading.local()

    def wait(self, row: Row) -> None:
        """Until anything is heard; the operator was answered a moment ago.

        Raises:
            Unavailable: nothing is: something is between this pod and the challenger.
        """
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_SECONDS)
            reply = self.ask(row)
            if reply.status:
                return
        message = f"{self._url} does not answer this Job's pod: {reply.problem}"
        raise Unavailable(Reason.ChallengerNotAnswering, message)

    def replay(self, rows: Sequence[Row], per_second: int) -> list[Reply]:
        """The answers, in the order of the rows."""
        free = threading.BoundedSemaphore(WORKERS)

        def ask(row: Row) -> Reply:
            try:
                return self.ask(row)
            finally:
                free.release()

        due = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            replies = []
            for row in rows:
                free.acquire()
                due = max(due, time.monotonic())  # what is late is not made up for by haste
                time.sleep(max(0.0, due - time.monotonic()))
                due += 1 / per_second
                replies.append(pool.submit(ask, row))
        return [reply.result() for reply in replies]

    def ask(self, row: Row) -> Reply:
        """One request."""
        import requests

        body = json.dumps({"instances": [row]})
        began = time.perf_counter()
        try:
            response = self._session().post(self._url, body, headers=HEADERS, timeout=TIMEOUT)
        except requests.RequestException as error:
            return Reply(time.perf_counter() - began, problem=f"no answer: {error}")
        return _reply(response, time.perf_counter() - began)

    def _session(self) -> "requests.Session":
        """A thread's own."""
        import requests

        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
            self._own.session.trust_env = False  # no proxy stands before a Service of the cluster
        session: requests.Session = self._own.session
        return session


def _reply(response: "requests.Response", seconds: float) -> Reply:
    if response.status_code != 200:
        text = " ".join(response.text.split())
        return Reply(seconds, response.status_code, problem=f"{response.status_code}: {text}")
    try:
        prediction = response.json()["predictions"][0]
        probability, churn = float(prediction["probability"]), bool(prediction["churn"])
    except (ValueError, LookupError, TypeError) as error:
        return Reply(seconds, response.status_code, problem=f"the answer is no prediction: {error!r}")
    if not 0 <= probability <= 1:
        return Reply(seconds, response.status_code, problem=f"the answer is no probability: {probability:g}")
    return Reply(seconds, response.status_code, probability, churn)


def figures(
    task: ShadowTask, logged: int, chosen: "pa.Table", replies: Sequence[Reply], hidden: tuple[str, ...]
) -> ShadowResult:
    """What the answers come to. Where a column was hidden, the champion was asked something else: none is compared."""
    good = [position for position, reply in enumerate(replies) if not reply.problem]
    seconds = [replies[position].seconds for position in good]
    compared = {} if hidden or not good else _compared(chosen.take(good), [replies[position] for position in good])
    return ShadowResult(
        outcome="Replayed",
        logged=logged,
        requests=len(replies),
        errors=len(replies) - len(good),
        refused=sum(reply.refused for reply in replies),
        slow=sum(each * 1000 > task.p95_milliseconds for each in seconds),
        latency=_latency(seconds) if seconds else None,
        hidden=tuple(name[:_SHOWN] for name in hidden[:_HIDDEN]),
        problem=next((reply.problem for reply in replies if reply.problem), "")[:_PROBLEM],
        **compared,
    )


def _compared(champion: "pa.Table", challenger: Sequence[Reply]) -> dict[str, Any]:
    import numpy as np

    theirs = champion["probability"].to_numpy()
    own = np.array([reply.probability for reply in challenger])
    changed = sum(was != reply.churn for was, reply in zip(champion["churn"].to_pylist(), challenger, strict=True))
    bins = [bisect_left(SCORE_BINS, probability) for probability in own]
    return {
        "compared": len(own),
        "changed": changed,
        "agreement": round(1 - changed / len(own), 5),
        "correlation": _spearman(theirs, own),
        "difference": round(float(np.abs(own - theirs).mean()), 5),
        "scores": tuple(bins.count(number) for number in range(len(SCORE_BINS))),
    }


def _spearman(one: "NDArray[np.float64]", other: "NDArray[np.float64]") -> float | None:
    """Correlation of ranks, ties sharing theirs; None where one has no order."""
    import pandas as pd

    ranks = [pd.Series(values).rank() for values in (one, other)]
    if any(rank.min() == rank.max() for rank in ranks):
        return None
    return round(min(1.0, max(-1.0, float(ranks[0].corr(ranks[1])))), 5)


def _latency(seconds: Sequence[float]) -> Latency:
    import numpy as np

    p50, p95, p99 = (round(float(q) * 1000, 3) for q in np.quantile(seconds, (0.5, 0.95, 0.99)))
    return Latency(p50=p50, p95=p95, p99=p99)
