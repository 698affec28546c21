"""What Prometheus may ask of the operator itself."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("churn_operator_reconciles", "Looks at an object, by kind and outcome.", ["kind", "outcome"])
RECONCILE_SECONDS = Histogram(
    "churn_operator_reconcile_seconds",
    "Time a look at an object took.",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
QUEUE_DEPTH = Gauge("churn_operator_queue_depth", "Objects that wait for a worker.")
DECISIONS = Counter(
    "churn_operator_decisions",
    "Judgements that came out otherwise than before, by kind, condition and reason; a retraining that is held, too.",
    ["kind", "type", "reason"],
)
JOBS = Counter("churn_operator_jobs", "Jobs that ended, by role and outcome.", ["role", "outcome"])
JOB_SECONDS = Histogram(
    "churn_operator_job_seconds",
    "Time from a Job's start to its end.",
    ["role"],
    buckets=(1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400),
)
ROLLOUT_SECONDS = Histogram(
    "churn_operator_rollout_seconds",
    "Time from the moment a version's server was asked for until it was Promoted or RolledBack.",
    ["outcome"],
    buckets=(10, 30, 60, 300, 900, 3600, 14400, 86400),
)
ROLLBACK_SECONDS = Histogram(
    "churn_operator_rollback_seconds",
    "Time from a verdict against a version that had traffic, or a person's order, until all of it was read back at the "
    "champion.",
    buckets=(1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
)
OLDEST = Gauge("churn_operator_oldest_seconds", "How long the oldest of what waits has been waiting.", ["what"])
WATCH_LAG = Gauge("churn_operator_watch_lag_seconds", "How long a watch has not shown what was written or listed.")
OBJECTS = Gauge("churn_operator_objects", "Objects that are known, by kind.", ["kind"])
LEADER = Gauge("churn_operator_leader", "1 where this replica leads.")
API_REQUESTS = Counter("churn_operator_api_requests", "Calls to the API server, by verb and code.", ["verb", "code"])
SINK_EVENTS = Counter(
    "churn_operator_sink_events", "Events that the sink took, refused, or that were dropped before.", ["outcome"]
)
