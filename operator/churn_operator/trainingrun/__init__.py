"""TrainingRun: from a pinned state of the data to a verdict."""

from churn_operator.trainingrun.kind import TrainingRunKind

__all__ = ["TrainingRunKind"]
