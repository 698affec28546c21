"""ChurnModel: which version serves, and when to train again."""

from churn_operator.churnmodel.kind import ChurnModelKind

__all__ = ["ChurnModelKind"]
