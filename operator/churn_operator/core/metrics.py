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
LEADER = Gauge("churn_operator_leader", "1 where this replica leads.")
API_REQUESTS = Counter("churn_operator_api_requests", "Calls to the API server, by verb and code.", ["verb", "code"])
