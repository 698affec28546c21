"""What a challenger must show: each policy looks at measures and frozen gates only, and says what it saw."""

from collections.abc import Callable

from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import ComparisonResult, TrainResult
from churn_operator.api.training import ChampionGate, Gate, Gates
from churn_operator.api.trainingrun import GateVerdict
from churn_operator.core.objects import Violation

PARITY = 1e-5
"""Largest accepted difference between a probability as served and as scikit-learn gives it."""

Policy = Callable[[Gates, TrainResult], Violation | None]


def parity_failed(gates: Gates, result: TrainResult) -> Violation | None:  # noqa: ARG001 - policies look alike
    """What serves must answer what was evaluated."""
    difference = result.metrics.get("parity")
    if difference is None or not difference <= PARITY:
        return Violation(
            Reason.ParityFailed,
            f"The converted model's probabilities differ from scikit-learn's by up to {_number(difference)}; "
            f"at most {PARITY:g} is accepted.",
        )
    return None


def gate_failed(gates: Gates, result: TrainResult) -> Violation | None:
    """Every metric is within its bounds on the held-out rows."""
    return _first(Reason.GateFailed, [gate for gate in gates if gate.champion is None], result)


def not_better_than_champion(gates: Gates, result: TrainResult) -> Violation | None:
    """The challenger holds its own against the champion on rows that neither has seen."""
    return _first(Reason.NotBetterThanChampion, [gate for gate in gates if gate.champion is not None], result)


REFUSE: tuple[Policy, ...] = (parity_failed, gate_failed, not_better_than_champion)


def refuse(gates: Gates, result: TrainResult) -> Violation | None:
    """The first policy that refuses, if one does."""
    return next((violation for policy in REFUSE if (violation := policy(gates, result))), None)


def verdict(gate: Gate, result: TrainResult) -> GateVerdict:
    """One gate, judged."""
    if gate.champion is not None:
        return _against_champion(gate.name, gate.champion, result)
    return _within_bounds(gate, result)


def _first(reason: Reason, gates: list[Gate], result: TrainResult) -> Violation | None:
    verdicts = (verdict(gate, result) for gate in gates)
    failed = next((v for v in verdicts if v.verdict == "Failed"), None)
    return Violation(reason, f"Gate {failed.name}: {failed.message}") if failed else None


def _within_bounds(gate: Gate, result: TrainResult) -> GateVerdict:
    value = result.metrics.get(str(gate.metric))
    bounds = " and ".join(
        f"{word} {bound:g}" for word, bound in (("at least", gate.min), ("at most", gate.max)) if bound is not None
    )
    holds = value is not None and (gate.min is None or value >= gate.min) and (gate.max is None or value <= gate.max)
    return GateVerdict(
        name=gate.name,
        verdict="Passed" if holds else "Failed",
        message=f"{gate.metric} is {_number(value)} on {result.data.holdout_rows} held-out rows; "
        f"{bounds} is asked for.",
    )


def _against_champion(name: str, gate: ChampionGate, result: TrainResult) -> GateVerdict:
    wanted = (gate.metric, gate.confidence)
    measured = next((c for c in result.comparisons if (c.metric, c.confidence) == wanted), None)
    if measured is None:
        return GateVerdict(name=name, verdict="NotApplicable", message="There is no champion to compare with.")
    return GateVerdict(
        name=name,
        verdict="Passed" if measured.lower_bound >= gate.min_improvement else "Failed",
        message=f"{gate.metric} is {_number(measured.challenger)} against the champion's {_number(measured.champion)} "
        f"on {measured.rows} held-out rows that {_seen(measured)}; the improvement is at least "
        f"{_number(measured.lower_bound)} with {gate.confidence:.0%} confidence, and at least {gate.min_improvement:g} "
        "is asked for.",
    )


def _seen(measured: ComparisonResult) -> str:
    if measured.unseen:
        return "neither has seen"
    return "the challenger has not seen, and the champion may have, which favours it"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"
