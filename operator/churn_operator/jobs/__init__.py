"""What runs in Jobs: `python -m churn_operator.jobs probe|train|drift|fetch`."""
