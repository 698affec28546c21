"""What a predictor's /metrics says."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from churn_operator.api.analysis import SCORE_BINS

LABELS = ("model", "version", "protocol", "outcome", "caller")


def scraped(*requests: tuple[str, str, str, float], probabilities: tuple[float, ...] = (), version: str = "v2") -> str:
    """What a predictor would tell of requests: protocol, outcome, caller, seconds."""
    registry = CollectorRegistry()
    Counter("churn_predictor_rows", "Rows", LABELS[:2], registry=registry).labels("telco", version)
    asked = Counter("churn_predictor_requests", "Asked", LABELS, registry=registry)
    seconds = Histogram(
        "churn_predictor_request_seconds", "Took", LABELS, buckets=(0.05, 0.1, 0.25, 1), registry=registry
    )
    for protocol, outcome, caller, took in requests:
        asked.labels("telco", version, protocol, outcome, caller).inc()
        seconds.labels("telco", version, protocol, outcome, caller).observe(took)
    spread = Histogram(
        "churn_predictor_probability", "Probability", LABELS[:2], buckets=SCORE_BINS, registry=registry
    ).labels("telco", version)
    for probability in probabilities:
        spread.observe(probability)
    return generate_latest(registry).decode()
