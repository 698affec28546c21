"""What /metrics tells."""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("churn_collector_events", "Events by type and by what became of them", ["type", "outcome"])
"""type: request, response, none. outcome: Stored, Ignored (nothing to log), Refused (no event), Later (503)."""
DROPPED = Counter("churn_collector_dropped", "What will never be a row of the log, by reason", ["reason"])
"""NotAnEvent, TooSlow, TooLarge, Unreadable, Forbidden, BufferFull, DiskFailed, NoContract, NoResponse, NoRequest,
TooMany (of few ids), Damaged."""
WRONG_CLOCKS = Counter("churn_collector_wrong_clocks", "Events whose time could not be right, logged under the present")
COMMIT_SECONDS = Histogram(
    "churn_collector_commit_seconds",
    "How long an event waits for the disk",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
BUFFER_BYTES = Gauge("churn_collector_buffer_bytes", "Bytes that are not in the object store yet")
BUFFER_LIMIT = Gauge("churn_collector_buffer_limit_bytes", "How many there may be")
OLDEST_SECONDS = Gauge("churn_collector_oldest_seconds", "Age of the oldest event that is not in the object store yet")
FLUSHES = Counter("churn_collector_flushes", "Writes of the buffer to the object store", ["outcome"])
FLUSHED_EVENTS = Counter("churn_collector_flushed_events", "Events that came into the object store")
COMPACTIONS = Counter("churn_collector_compactions", "Joins and merges in the object store", ["work", "outcome"])
ROWS = Counter("churn_collector_rows", "Rows written to the log")
PENDING_FILES = Gauge("churn_collector_pending_files", "Files of halves in the object store, of all replicas")
DELETED = Counter("churn_collector_expired_files", "Files deleted because their day is over the retention")
