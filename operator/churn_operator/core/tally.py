"""What news tells the metrics: how Jobs end, and what has been waiting for how long."""

from collections.abc import Callable
from datetime import datetime

from churn_operator.core import clock
from churn_operator.core.job import ROLE_LABEL
from churn_operator.core.metrics import JOB_SECONDS, JOBS, ROLLBACK_SECONDS, ROLLOUT_SECONDS
from churn_operator.core.objects import Key, Object, name_of, uid_of

RUN, RETRAINING = "run", "retraining"
"""What waits: a TrainingRun that is not finished, a retraining that is held."""
ENDS = ("Complete", "Failed")
OUTCOMES = frozenset({"Complete", "BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy"})
"""Those that are told apart; any other is `Other`, so that the number of series is bounded."""


ROLLOUT_ENDS = {"Guarding": "Promoted", "Complete": "Promoted", "RolledBack": "RolledBack"}
"""What a phase of a rollout says came of it."""
ORDERED = frozenset({"Aborted", "Recalled"})
"""Reasons of a rollout's end that a person gave."""


class Tally:
    """Lost with the process; rebuilt by the first listing."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._since: dict[tuple[str, Key], datetime] = {}
        self._ended: set[str] = set()
        self._rollouts: dict[Key, tuple[str, str | None]] = {}
        self._rollbacks: dict[Key, datetime] = {}
        """Since when traffic is to be back where it was."""
        self._orders: dict[Key, tuple[str, datetime | None]] = {}
        """The last order, by the time that it says, and when it came; None where that was before this process."""

    def __call__(self, obj: Object, *, gone: bool, first: bool) -> None:
        """The store's news; of what is in the first listing, the end may have been before this process started."""
        key = Key(obj["kind"], obj["metadata"]["namespace"], name_of(obj))
        status = obj.get("status", {})
        match obj["kind"]:
            case "Job":
                self._job(obj, gone=gone, first=first)
            case "TrainingRun":
                created = clock.parse(obj["metadata"]["creationTimestamp"])
                self._wait(RUN, key, created, waits=not gone and "finishedAt" not in status)
            case "ChurnModel":
                self._wait(RETRAINING, key, self._now(), waits=not gone and "retraining" in status)
                self._order(key, status, gone=gone, first=first)
                self._rollout(key, status, gone=gone, first=first)
            case _:
                pass

    def oldest(self, what: str) -> float:
        """Seconds for which the oldest one has been waiting, as far as this process saw; 0 where none does."""
        since = [since for (its, _), since in self._since.items() if its == what]
        return (self._now() - min(since)).total_seconds() if since else 0.0

    def _wait(self, what: str, key: Key, since: datetime, *, waits: bool) -> None:
        if waits:
            self._since.setdefault((what, key), since)
        else:
            self._since.pop((what, key), None)

    def _order(self, key: Key, status: Object, *, gone: bool, first: bool) -> None:
        """Remember when it came: its own time is by the clock of its writer, and only tells which one it is."""
        at = status.get("command", {}).get("at")
        if at is None or gone:
            self._orders.pop(key, None)
        elif key not in self._orders or self._orders[key][0] != at:
            self._orders[key] = (at, None if first else self._now())

    def _rollout(self, key: Key, status: Object, *, gone: bool, first: bool) -> None:
        """Time its end once: what is promoted is guarded before it is complete."""
        rollout = status.get("rollout")
        if rollout is None or gone:
            self._rollouts.pop(key, None)
            self._rollbacks.pop(key, None)
            return
        outcome = ROLLOUT_ENDS.get(rollout["phase"])
        if key in self._rollbacks and _with_traffic(status) == [status.get("summary", {}).get("champion")]:
            ROLLBACK_SECONDS.observe((self._now() - self._rollbacks.pop(key)).total_seconds())
        if self._rollouts.get(key) == (rollout["version"], outcome):
            return
        self._rollouts[key] = (rollout["version"], outcome)
        self._rollbacks.pop(key, None)
        if outcome is not None and not first:
            self._end(key, status, outcome)

    def _end(self, key: Key, status: Object, outcome: str) -> None:
        """Time it, and from now on how long a version that is rolled back keeps the traffic that it has."""
        rollout = status["rollout"]
        since = clock.parse(rollout["since"])
        ROLLOUT_SECONDS.labels(outcome).observe((since - clock.parse(rollout["began"])).total_seconds())
        if outcome == "RolledBack" and rollout["version"] in _with_traffic(status):
            _, came = self._orders.get(key, ("", None))
            self._rollbacks[key] = since if came is None or rollout.get("reason") not in ORDERED else came

    def _job(self, job: Object, *, gone: bool, first: bool) -> None:
        """Count its end once."""
        status = job.get("status", {})
        ends = (c for c in status.get("conditions", ()) if c["type"] in ENDS and c["status"] == "True")
        end = next(ends, None)
        known = uid_of(job) in self._ended
        if gone:
            self._ended.discard(uid_of(job))
        elif end is not None:
            self._ended.add(uid_of(job))
        if end is None or known or first:
            return
        role = job["metadata"].get("labels", {}).get(ROLE_LABEL, "other")
        outcome = end["type"] if end["type"] == "Complete" else end.get("reason", "")
        JOBS.labels(role, outcome if outcome in OUTCOMES else "Other").inc()
        if "startTime" in status:
            took = clock.parse(end["lastTransitionTime"]) - clock.parse(status["startTime"])
            JOB_SECONDS.labels(role).observe(took.total_seconds())


def _with_traffic(status: Object) -> list[str]:
    """The versions that were read back to be sent any."""
    return [share["version"] for share in status.get("traffic", ()) if share["percent"]]
